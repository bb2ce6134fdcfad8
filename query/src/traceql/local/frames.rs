//! Collects what a node answers into frames of bounded size.
use bytes::Bytes;
use prost::Message;

use crate::error::{Error, Result};
use crate::fragment::{FragmentLimits, Sink};
use crate::traceql::fragment::{Frame, MetricsMessage, NameMessage, TraceMessage, VERSION, ValueMessage};
use crate::traceql::model::SpanRow;
use crate::traceql::wire::push_span;

/// A frame is sent before it grows beyond this many bytes, unless one item alone does.
const FRAME_BYTES_TARGET: usize = 768 << 10;

/// Sends frames, within the fragment's limits.
pub(super) struct Frames<'a, 's> {
    pub(super) limits: &'a FragmentLimits,
    sink: &'a mut Sink<'s>,
    frame: Frame,
    /// Bytes of `frame`, about.
    bytes: usize,
    sent: u64,
}

impl<'a, 's> Frames<'a, 's> {
    pub(super) fn new(limits: &'a FragmentLimits, sink: &'a mut Sink<'s>) -> Self {
        Self { limits, sink, frame: Frame::default(), bytes: 0, sent: 0 }
    }

    fn room(&mut self, bytes: usize) -> Result<()> {
        if self.bytes > 0 && self.bytes + bytes > FRAME_BYTES_TARGET {
            self.flush()?;
        }
        self.bytes += bytes + 8;
        Ok(())
    }

    pub(super) fn span(&mut self, row: &SpanRow) -> Result<()> {
        // The stream's key counts although another span of the frame may have brought it.
        self.room(row.bytes_len() + row.stream.key.as_bytes().len())?;
        push_span(&mut self.frame, row);
        Ok(())
    }

    pub(super) fn trace(&mut self, message: TraceMessage) -> Result<()> {
        self.room(message.encoded_len())?;
        self.frame.traces.push(message);
        Ok(())
    }

    pub(super) fn name(&mut self, message: NameMessage) -> Result<()> {
        self.room(message.encoded_len())?;
        self.frame.names.push(message);
        Ok(())
    }

    pub(super) fn value(&mut self, message: ValueMessage) -> Result<()> {
        self.room(message.encoded_len())?;
        self.frame.values.push(message);
        Ok(())
    }

    pub(super) fn metrics(&mut self, message: MetricsMessage) -> Result<()> {
        self.room(message.encoded_len())?;
        self.frame.metrics = Some(message);
        self.flush()
    }

    /// Sends what is there; [`Error::Limit`] beyond the fragment's bytes.
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.bytes == 0 {
            return Ok(());
        }
        self.bytes = 0;
        let frame = Frame { version: VERSION, ..std::mem::take(&mut self.frame) };
        let bytes = Bytes::from(frame.encode_to_vec());
        self.sent += bytes.len() as u64;
        if self.sent > self.limits.reply_bytes_max {
            let message = format!("the answer is larger than {} bytes", self.limits.reply_bytes_max);
            return Err(Error::Limit { message });
        }
        (self.sink)(bytes)
    }
}
