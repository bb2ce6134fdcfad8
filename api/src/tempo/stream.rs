//! `tempopb.StreamingQuerier`: one complete answer a call, split into messages that clients can take.
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use futures::stream::{self, Stream};
use prost::Message as _;
use tonic::{Request, Response, Status};
use trine_query::scatter::QueryContext;
use trine_query::traceql::{self, SearchQuery, SearchRequest, TagScope};

use super::pb::streaming_querier_server::{StreamingQuerier, StreamingQuerierServer};
use super::{params, pb, search, tags};
use crate::error::{ApiError, Family};
use crate::grpc::route;
use crate::state::Api;
use crate::tenant::tenant_of;

/// Messages are split at this: clients refuse more than 4 MiB.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Clone, Debug)]
struct Querier(Api);

/// Adds the service to a router.
pub(crate) fn services(router: Router, api: &Api) -> Router {
    route(router, StreamingQuerierServer::new(Querier(api.clone())))
}

fn messages<T: Send + 'static>(items: Vec<T>) -> Messages<T> {
    Box::pin(stream::iter(items.into_iter().map(Ok)))
}

impl Querier {
    fn accept<M>(&self, request: Request<M>) -> Result<(M, QueryContext), ApiError> {
        self.0.check_ready()?;
        let headers = request.metadata().clone().into_headers();
        let tenant: Arc<str> = tenant_of(&headers, self.0.config().require_tenant)?;
        Ok((request.into_inner(), self.0.query_context(&tenant, None, false)))
    }

    fn range_ns(&self, start_s: u32, end_s: u32) -> Result<(i64, i64), ApiError> {
        params::range_ns(i64::from(start_s), i64::from(end_s), self.0.config(), self.0.now_ns())
    }

    fn finish<T: Send + 'static>(
        &self,
        operation: &'static str,
        started: Instant,
        outcome: Result<Vec<T>, ApiError>,
    ) -> Result<Response<Messages<T>>, Status> {
        let status = outcome.as_ref().map_or_else(|e| e.status(Family::Tempo).as_u16(), |_| 200);
        self.0.registry().count_request(operation, status, started.elapsed());
        outcome.map(|items| Response::new(messages(items))).map_err(|e| e.to_grpc())
    }

    async fn run_search(&self, request: Request<pb::SearchRequest>) -> Result<Vec<pb::SearchResponse>, ApiError> {
        let (r, ctx) = self.accept(request)?;
        let (start_ns, end_ns) = self.range_ns(r.start, r.end)?;
        params::check_query(&r.query)?;
        let ns = |ms: u32| (ms > 0).then(|| i64::from(ms) * 1_000_000);
        let query = if r.query.is_empty() {
            SearchQuery::Tags {
                tags: r.tags.into_iter().collect(),
                min_duration_ns: ns(r.min_duration_ms),
                max_duration_ns: ns(r.max_duration_ms),
            }
        } else {
            SearchQuery::TraceQl(r.query)
        };
        let limit = if r.limit == 0 { 20 } else { i64::from(r.limit) };
        let request = SearchRequest {
            query,
            start_ns,
            end_ns,
            limit: params::check_limit(limit, self.0.config())?,
            spans_per_set: params::check_spans(r.spans_per_span_set as usize)?,
        };
        let answer = traceql::search(&self.0.backend().scatter(), &ctx, &request).await?;
        let _rendering = search::rendering(&ctx, answer.held.as_deref())?;
        Ok(split(search::response_of(&answer)))
    }

    async fn run_tags(
        &self,
        request: Request<pb::SearchTagsRequest>,
        v1: bool,
    ) -> Result<traceql::TagsAnswer, ApiError> {
        let (r, ctx) = self.accept(request)?;
        let (start_ns, end_ns) = self.range_ns(r.start, r.end)?;
        let (scope, limit) = (TagScope::parse(&r.scope)?, r.max_tags_per_scope as usize);
        params::check_query(&r.query)?;
        let scatter = self.0.backend().scatter();
        Ok(if v1 {
            traceql::tags_v1(&scatter, &ctx, scope, start_ns, end_ns, limit).await?
        } else {
            traceql::tags(&scatter, &ctx, scope, &r.query, start_ns, end_ns, limit).await?
        })
    }

    async fn run_values(
        &self,
        request: Request<pb::SearchTagValuesRequest>,
        v1: bool,
    ) -> Result<traceql::TagValuesAnswer, ApiError> {
        let (r, ctx) = self.accept(request)?;
        let (start_ns, end_ns) = self.range_ns(r.start, r.end)?;
        params::check_query(&r.query)?;
        let (scatter, limit) = (self.0.backend().scatter(), r.max_tag_values as usize);
        Ok(if v1 {
            traceql::tag_values_v1(&scatter, &ctx, &r.tag_name, start_ns, end_ns, limit).await?
        } else {
            traceql::tag_values(&scatter, &ctx, &r.tag_name, &r.query, start_ns, end_ns, limit).await?
        })
    }
}

/// Cuts an answer into messages of bounded size; every one has the metrics.
fn split(response: pb::SearchResponse) -> Vec<pb::SearchResponse> {
    let metrics = response.metrics;
    let empty = || pb::SearchResponse { traces: Vec::new(), metrics };
    let (mut out, mut open, mut bytes) = (Vec::new(), empty(), 0);
    for trace in response.traces {
        let len = trace.encoded_len();
        if bytes + len > MESSAGE_BYTES_MAX && !open.traces.is_empty() {
            out.push(std::mem::replace(&mut open, empty()));
            bytes = 0;
        }
        bytes += len;
        open.traces.push(trace);
    }
    out.push(open);
    out
}

#[tonic::async_trait]
impl StreamingQuerier for Querier {
    type SearchStream = Messages<pb::SearchResponse>;
    type SearchTagsStream = Messages<pb::SearchTagsResponse>;
    type SearchTagsV2Stream = Messages<pb::SearchTagsV2Response>;
    type SearchTagValuesStream = Messages<pb::SearchTagValuesResponse>;
    type SearchTagValuesV2Stream = Messages<pb::SearchTagValuesV2Response>;

    async fn search(&self, request: Request<pb::SearchRequest>) -> Result<Response<Self::SearchStream>, Status> {
        let started = Instant::now();
        let outcome = self.run_search(request).await;
        self.finish("tempo_search_stream", started, outcome)
    }

    async fn search_tags(
        &self,
        request: Request<pb::SearchTagsRequest>,
    ) -> Result<Response<Self::SearchTagsStream>, Status> {
        let started = Instant::now();
        let outcome = self.run_tags(request, true).await.map(|a| vec![tags::tags_message(&a)]);
        self.finish("tempo_tags_stream", started, outcome)
    }

    async fn search_tags_v2(
        &self,
        request: Request<pb::SearchTagsRequest>,
    ) -> Result<Response<Self::SearchTagsV2Stream>, Status> {
        let started = Instant::now();
        let outcome = self.run_tags(request, false).await.map(|a| vec![tags::tags_v2_message(&a)]);
        self.finish("tempo_tags_stream", started, outcome)
    }

    async fn search_tag_values(
        &self,
        request: Request<pb::SearchTagValuesRequest>,
    ) -> Result<Response<Self::SearchTagValuesStream>, Status> {
        let started = Instant::now();
        let outcome = self.run_values(request, true).await.map(|a| vec![tags::values_message(&a)]);
        self.finish("tempo_tag_values_stream", started, outcome)
    }

    async fn search_tag_values_v2(
        &self,
        request: Request<pb::SearchTagValuesRequest>,
    ) -> Result<Response<Self::SearchTagValuesV2Stream>, Status> {
        let started = Instant::now();
        let outcome = self.run_values(request, false).await.map(|a| vec![tags::values_v2_message(&a)]);
        self.finish("tempo_tag_values_stream", started, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn big_answers_are_split_and_keep_their_metrics() {
        let trace =
            pb::TraceSearchMetadata { root_trace_name: "x".repeat(300_000), ..pb::TraceSearchMetadata::default() };
        let metrics = Some(pb::SearchMetrics { total_jobs: 2, ..pb::SearchMetrics::default() });
        let parts = split(pb::SearchResponse { traces: vec![trace; 10], metrics });
        assert!(parts.len() >= 3 && parts.iter().all(|p| p.metrics.is_some() && p.encoded_len() < 2 << 20));
        assert_eq!(parts.iter().map(|p| p.traces.len()).sum::<usize>(), 10);
        assert_eq!(split(pb::SearchResponse::default()).len(), 1);
    }
}
