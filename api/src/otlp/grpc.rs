//! OTLP over gRPC.
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic::{Request, Response, Status};

use super::store;
use crate::error::ApiError;
use crate::grpc::route;
use crate::state::Api;
use crate::tenant::tenant_of;

/// The three export services on one handle.
#[derive(Clone, Debug)]
struct Export(Api);

/// Adds the export services to a router.
pub(crate) fn services(router: Router, api: &Api) -> Router {
    let bytes_max = api.config().otlp_bytes_max;
    let export = Arc::new(Export(api.clone()));
    let traces = TraceServiceServer::from_arc(Arc::clone(&export))
        .max_decoding_message_size(bytes_max)
        .accept_compressed(Gzip)
        .accept_compressed(Zstd);
    let logs = LogsServiceServer::from_arc(Arc::clone(&export))
        .max_decoding_message_size(bytes_max)
        .accept_compressed(Gzip)
        .accept_compressed(Zstd);
    let metrics = MetricsServiceServer::from_arc(export)
        .max_decoding_message_size(bytes_max)
        .accept_compressed(Gzip)
        .accept_compressed(Zstd);
    route(route(route(router, traces), logs), metrics)
}

impl Export {
    /// Tenant and size of a request, past the common checks.
    fn accept<M: Message>(&self, request: &Request<M>) -> Result<(Arc<str>, usize), ApiError> {
        self.0.check_ready()?;
        let headers = request.metadata().clone().into_headers();
        let tenant = tenant_of(&headers, self.0.config().require_tenant)?;
        let len = request.get_ref().encoded_len();
        self.0.registry().count_body(len);
        Ok((tenant, len))
    }

    fn finish<T>(
        &self,
        operation: &'static str,
        started: Instant,
        outcome: Result<T, ApiError>,
    ) -> Result<Response<T>, Status> {
        let status = outcome.as_ref().map_or_else(|e| e.status(crate::Family::Otlp { json: false }).as_u16(), |_| 200);
        self.0.registry().count_request(operation, status, started.elapsed());
        outcome.map(Response::new).map_err(|e| e.to_grpc())
    }
}

#[tonic::async_trait]
impl TraceService for Export {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let started = Instant::now();
        let outcome = async {
            let (tenant, len) = self.accept(&request)?;
            let _held = self.0.budget().take(2 * len)?;
            store::traces(&self.0, tenant, request.into_inner(), len).await?;
            let partial_success = Some(ExportTracePartialSuccess::default());
            Ok(ExportTraceServiceResponse { partial_success })
        };
        self.finish("otlp_traces_grpc", started, outcome.await)
    }
}

#[tonic::async_trait]
impl LogsService for Export {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let started = Instant::now();
        let outcome = async {
            let (tenant, len) = self.accept(&request)?;
            let _held = self.0.budget().take(2 * len)?;
            store::logs(&self.0, tenant, request.into_inner(), len).await?;
            Ok(ExportLogsServiceResponse { partial_success: None })
        };
        self.finish("otlp_logs_grpc", started, outcome.await)
    }
}

#[tonic::async_trait]
impl MetricsService for Export {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let started = Instant::now();
        let outcome = async {
            let (tenant, len) = self.accept(&request)?;
            let _held = self.0.budget().take(2 * len)?;
            let partial = store::metrics(&self.0, tenant, request.into_inner(), len).await?;
            let partial_success = (partial.rejected > 0).then_some(ExportMetricsPartialSuccess {
                rejected_data_points: partial.rejected,
                error_message: partial.message,
            });
            Ok(ExportMetricsServiceResponse { partial_success })
        };
        self.finish("otlp_metrics_grpc", started, outcome.await)
    }
}
