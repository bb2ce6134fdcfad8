//! Over a socket: REST and gRPC on one port, and a shutdown that lets requests finish.
use std::net::SocketAddr;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use trine_api::server;

use crate::client::Client;

async fn http_get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

fn request(trace_id: Vec<u8>) -> ExportTraceServiceRequest {
    let span = Span { trace_id, span_id: vec![1; 8], name: "s".to_owned(), ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
}

#[tokio::test]
async fn rest_and_grpc_share_a_port() {
    let client = Client::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        stopped.await.unwrap();
    };
    let serving = tokio::spawn(server::serve(listener, server::main_router(&client.api), shutdown));
    assert!(http_get(address, "/api/echo").await.ends_with("echo"));
    let mut grpc = TraceServiceClient::connect(format!("http://{address}")).await.unwrap();
    let reply = grpc.export(request(vec![7; 16])).await.unwrap().into_inner();
    assert!(reply.partial_success.is_some());
    let error = grpc.export(request(vec![7; 3])).await.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (tonic::Code::InvalidArgument, "trace ids must be 128 bit, received 24 bits")
    );
    assert!(http_get(address, &format!("/api/traces/{}", "07".repeat(16))).await.contains("\"batches\""));
    drop(grpc);
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_busy_node_tells_grpc_clients_when_to_retry() {
    let client = Client::with(trine_api::ApiConfig { inflight_bytes_max: 2 << 20, ..trine_api::ApiConfig::default() });
    let _held = client.hold(2 << 20).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(server::serve(listener, server::otlp_grpc_router(&client.api), std::future::pending()));
    let mut grpc = TraceServiceClient::connect(format!("http://{address}")).await.unwrap();
    let error = grpc.export(request(vec![7; 16])).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::ResourceExhausted);
    assert!(!error.details().is_empty());
    serving.abort();
}

#[tokio::test]
async fn a_client_that_closes_its_half_gets_its_answer() {
    let client = Client::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(server::serve(listener, server::main_router(&client.api), std::future::pending()));
    for _ in 0..50 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /api/echo HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.ends_with("echo"), "{text:?}");
    }
    serving.abort();
}

/// As Prometheus does, whose server takes either for a client that left; a write goes on to its answer.
#[tokio::test]
async fn a_query_ends_with_its_clients_connection() {
    let client = Client::new();
    let stalled = Arc::new(());
    *client.cluster.stalled.lock().unwrap() = Some(stalled.clone());
    let at_rest = Arc::strong_count(&stalled);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(server::serve(listener, server::main_router(&client.api), std::future::pending()));
    let queries = [
        "GET /api/v1/query?query=up HTTP/1.1\r\nhost: x\r\n\r\n",
        "POST /api/v1/query HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: 8\r\n\r\nquery=up",
        "GET /loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /api/search?q=%7B%7D HTTP/1.1\r\nhost: x\r\n\r\n",
    ];
    for (query, only_half) in queries.iter().flat_map(|query| [(query, false), (query, true)]) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(query.as_bytes()).await.unwrap();
        while Arc::strong_count(&stalled) == at_rest {
            tokio::task::yield_now().await;
        }
        if only_half {
            stream.shutdown().await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            assert!(text.starts_with("HTTP/1.1 499 "), "{text:?}");
        }
        drop(stream);
        while Arc::strong_count(&stalled) != at_rest {
            tokio::task::yield_now().await;
        }
    }
    serving.abort();
}
