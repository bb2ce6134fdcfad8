//! Tempo's streaming service over a socket, spoken with a client of its own.
use prost::Message;
use tokio::net::TcpListener;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;
use trine_api::server;

use crate::client::Client;

/// tempopb.SearchRequest, as far as Grafana's health check fills it.
#[derive(Clone, PartialEq, Message)]
struct SearchRequest {
    #[prost(uint32, tag = "4")]
    limit: u32,
    #[prost(uint32, tag = "5")]
    start: u32,
    #[prost(uint32, tag = "6")]
    end: u32,
    #[prost(string, tag = "8")]
    query: String,
}

/// tempopb.SearchResponse with the parts that are looked at.
#[derive(Clone, PartialEq, Message)]
struct SearchResponse {
    #[prost(message, repeated, tag = "1")]
    traces: Vec<Trace>,
    #[prost(message, optional, tag = "2")]
    metrics: Option<Metrics>,
}

#[derive(Clone, PartialEq, Message)]
struct Trace {
    #[prost(string, tag = "1")]
    trace_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct Metrics {
    #[prost(uint32, tag = "4")]
    completed_jobs: u32,
    #[prost(uint32, tag = "5")]
    total_jobs: u32,
}

#[tokio::test]
async fn a_search_streams_on_the_http_port() {
    let client = Client::new();
    let a = client.post("/v1/traces", &[("content-type", "application/json")], crate::tempo::SPAN).await;
    assert_eq!(a.status, 200);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(server::serve(listener, server::main_router(&client.api), std::future::pending()));
    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let request = SearchRequest { limit: 1, query: "{ name = \"db\" }".to_owned(), ..SearchRequest::default() };
    let path = PathAndQuery::from_static("/tempopb.StreamingQuerier/Search");
    let codec: ProstCodec<SearchRequest, SearchResponse> = ProstCodec::default();
    let mut stream =
        grpc.server_streaming(tonic::Request::new(request), path.clone(), codec).await.unwrap().into_inner();
    let message = stream.message().await.unwrap().unwrap();
    assert_eq!(message.traces[0].trace_id, "1f");
    assert_eq!(message.metrics, Some(Metrics { completed_jobs: 2, total_jobs: 2 }));
    assert!(stream.message().await.unwrap().is_none());
    grpc.ready().await.unwrap();
    let codec: ProstCodec<SearchRequest, SearchResponse> = ProstCodec::default();
    let bad = SearchRequest { query: "{".to_owned(), ..SearchRequest::default() };
    let error = grpc.server_streaming(tonic::Request::new(bad), path, codec).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::InvalidArgument);
    serving.abort();
}
