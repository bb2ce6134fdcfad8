//! Applying a part to a head.
use std::collections::HashMap;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::batch::Batch;
use super::metadata::MetadataPiece;
use super::{MetricsHead, PIECE_SIZE_MAX, SeriesRef, pieces};
use crate::codec;
use crate::part::{FloatRun, MetricRecord, MetricsBody, SampleKind};
use crate::shard::{Conflict, PartOutcome};
use crate::tsdb::FamilyMetadata;

/// The newest record of each (series, kind) that is not a float: (ms, hash of the payload).
pub(super) type LastBlobs = HashMap<(u32, SampleKind), (i64, u64)>;

/// Bytes of a float sample in a body, about: to size a batch.
const SAMPLE_BYTES_MIN: usize = 9;

/// Where an arriving sample stands against the newest one of its series.
enum Arrival {
    New,
    Repeated,
    Conflict { existing_bits: u64 },
}

impl MetricsHead {
    /// Applies the body of a part: all of it, or nothing when it does not decode or a reference is not of `tenant`.
    ///
    /// `refs` are the part's definitions in order, `position` the log index of its entry. A sample equal to the newest of
    /// its series is counted as repeated; another value at that time is a conflict. Neither is kept. Everything else is:
    /// samples may come in any order, and duplicates further back are resolved by readers.
    pub fn append(
        &mut self,
        tenant: &Arc<str>,
        position: u64,
        refs: &[SeriesRef],
        body: &[u8],
    ) -> Result<PartOutcome, codec::Error> {
        MetricsBody::check(body, count_of(refs)?)?;
        self.append_checked(tenant, position, refs, body)
    }

    /// As [`Self::append`], of a body that is known to decode with so many definitions.
    pub(crate) fn append_checked(
        &mut self,
        tenant: &Arc<str>,
        position: u64,
        refs: &[SeriesRef],
        body: &[u8],
    ) -> Result<PartOutcome, codec::Error> {
        debug_assert!(position >= self.last_position, "entries are applied in order");
        let defs_count = count_of(refs)?;
        debug_assert_eq!(MetricsBody::check(body, defs_count), Ok(()));
        let of_tenant = self.tenants.get(tenant).copied();
        for (at, series) in refs.iter().enumerate() {
            let state = self.series.get(series.0 as usize);
            if state.is_none_or(|s| Some(s.tenant) != of_tenant) {
                return Err(codec::Error::Invalid { what: "series reference", at });
            }
        }
        self.last_position = position;
        let mut outcome = PartOutcome::default();
        let mut batch = Batch::with_capacity(body.len() / SAMPLE_BYTES_MIN);
        let mut metadata = MetadataPiece::default();
        let mut records = MetricsBody::new(body, defs_count);
        while let Some(record) = records.next_record()? {
            match record {
                MetricRecord::Floats { series, samples } => {
                    self.floats(refs[series as usize], series, samples, &mut batch, &mut outcome);
                }
                MetricRecord::Blob { series, kind, time_ms, payload } => {
                    self.blob(refs[series as usize], series, kind, time_ms, payload, &mut batch, &mut outcome);
                }
                MetricRecord::Metadata { family, metric_type, help, unit } => {
                    let new = FamilyMetadata { metric_type, help: help.to_owned(), unit: unit.to_owned() };
                    if self.known_metadata.update(tenant, family, &new) {
                        metadata.insert(tenant, family, new);
                    }
                }
            }
        }
        self.take_in(batch, metadata);
        Ok(outcome)
    }

    fn floats(
        &mut self,
        series: SeriesRef,
        in_part: u32,
        samples: FloatRun<'_>,
        batch: &mut Batch,
        outcome: &mut PartOutcome,
    ) {
        let state = &mut self.series[series.0 as usize];
        let mut last = state.last();
        for (time_ms, bits) in samples {
            match arrive(&mut last, time_ms, bits) {
                Arrival::New => {
                    batch.push(series.0, time_ms, bits);
                    outcome.accepted += 1;
                }
                Arrival::Repeated => outcome.repeated += 1,
                Arrival::Conflict { existing_bits } => {
                    note(outcome, Conflict { series: in_part, time_ms, existing_bits, new_bits: bits });
                }
            }
        }
        state.set_last(last);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a record, its place in the part, and two outputs")]
    fn blob(
        &mut self,
        series: SeriesRef,
        in_part: u32,
        kind: SampleKind,
        time_ms: i64,
        payload: &[u8],
        batch: &mut Batch,
        outcome: &mut PartOutcome,
    ) {
        let mut last = self.blobs_last.get(&(series.0, kind)).copied();
        match arrive(&mut last, time_ms, xxh3_64(payload)) {
            Arrival::Repeated => outcome.repeated += 1,
            // A histogram has no one value to name; two exemplars may share a time.
            Arrival::Conflict { .. } if kind != SampleKind::Exemplar => {
                note(outcome, Conflict { series: in_part, time_ms, existing_bits: 0, new_bits: 0 });
            }
            Arrival::New | Arrival::Conflict { .. } => {
                if let Some(last) = last {
                    self.blobs_last.insert((series.0, kind), last);
                }
                batch.push_blob(series.0, kind, time_ms, payload);
                outcome.accepted += 1;
            }
        }
    }

    fn take_in(&mut self, batch: Batch, metadata: MetadataPiece) {
        if batch.len() > 0 {
            self.facts += batch.len() as u64;
            let times = batch.times_ms.iter().copied().chain(batch.blobs.iter().map(|blob| blob.time_ms));
            for time_ms in times {
                self.min_ms = self.min_ms.min(time_ms);
                self.max_ms = self.max_ms.max(time_ms);
            }
            let fixed = self.job.map_or(0, |job| job.batches_count);
            pieces::push(&mut self.batches, fixed, batch, PIECE_SIZE_MAX);
            self.published = None;
        }
        if !metadata.is_empty() {
            pieces::push(&mut self.metadata, 0, metadata, usize::MAX);
            self.published = None;
        }
    }
}

fn count_of(refs: &[SeriesRef]) -> Result<u32, codec::Error> {
    u32::try_from(refs.len()).map_err(|_| codec::Error::Invalid { what: "references", at: 0 })
}

/// Compares with the newest sample and moves that forward.
#[inline]
fn arrive(last: &mut Option<(i64, u64)>, time_ms: i64, bits: u64) -> Arrival {
    match *last {
        Some((last_ms, last_bits)) if last_ms == time_ms => {
            if last_bits == bits {
                Arrival::Repeated
            } else {
                Arrival::Conflict { existing_bits: last_bits }
            }
        }
        Some((last_ms, _)) if last_ms > time_ms => Arrival::New,
        Some(_) | None => {
            *last = Some((time_ms, bits));
            Arrival::New
        }
    }
}

fn note(outcome: &mut PartOutcome, conflict: Conflict) {
    outcome.conflicts_count += 1;
    if outcome.conflicts.len() < PartOutcome::CONFLICTS_MAX {
        outcome.conflicts.push(conflict);
    }
}
