//! `/api/v1/notifications` and its stream: through the router, and over sockets.
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tower::ServiceExt;
use trine_api::{Troubles, server};

use crate::client::Client;

const LIVE: &str = "/api/v1/notifications/live";
/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

async fn open(client: &Client) -> Response<Body> {
    let request = Request::get(LIVE).header("accept-encoding", "gzip").body(Body::empty()).unwrap();
    client.router.clone().oneshot(request).await.unwrap()
}

/// The next event's text and whether it is active; comments are passed over.
async fn event(stream: &mut Response<Body>) -> (String, bool) {
    loop {
        let frame = stream.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
        let text = String::from_utf8(frame.to_vec()).unwrap();
        if text.starts_with(':') {
            continue;
        }
        let json =
            text.strip_prefix("data: ").and_then(|t| t.strip_suffix("\n\n")).unwrap_or_else(|| panic!("{text:?}"));
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(json["date"], "2026-11-21T21:46:40Z");
        return (json["text"].as_str().unwrap().to_owned(), json["active"].as_bool().unwrap());
    }
}

#[tokio::test]
async fn what_is_wrong_now_is_listed() {
    let client = Client::new();
    assert_eq!(client.get("/api/v1/notifications").await.text(), r#"{"status":"success","data":[]}"#);
    *client.cluster.ready.lock().unwrap() = Err("replaying".to_owned());
    *client.cluster.troubles.lock().unwrap() = Troubles { is_disk_full: true, ..Troubles::default() };
    let a = client.get("/prometheus/api/v1/notifications").await.json();
    let all = a["data"].as_array().unwrap();
    assert_eq!(all.len(), 2, "{a}");
    for (notification, text) in all.iter().zip(["This node is starting", "The disk of this node is full"]) {
        assert!(notification["text"].as_str().unwrap().starts_with(text), "{a}");
        assert_eq!((&notification["date"], &notification["active"]), (&"2026-11-21T21:46:40Z".into(), &true.into()));
    }
    *client.cluster.ready.lock().unwrap() = Ok(());
    let a = client.get("/api/v1/notifications").await.json();
    assert_eq!(a["data"].as_array().unwrap().len(), 1, "{a}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_tells_what_is_and_what_changes() {
    let client = Client::new();
    *client.cluster.ready.lock().unwrap() = Err("replaying".to_owned());
    let mut stream = open(&client).await;
    assert_eq!(stream.status(), 200);
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert!(!stream.headers().contains_key("content-encoding"), "events must not wait in a compressor");
    let (starting, is_active) = event(&mut stream).await;
    assert!(starting.starts_with("This node is starting") && is_active, "{starting}");
    *client.cluster.ready.lock().unwrap() = Ok(());
    assert_eq!(event(&mut stream).await, (starting, false));
    *client.cluster.troubles.lock().unwrap() = Troubles { leaderless: vec![4], ..Troubles::default() };
    let (leaderless, is_active) = event(&mut stream).await;
    assert!(leaderless.contains("no leader of shards 4") && is_active, "{leaderless}");
    // Who comes later is told at once.
    assert_eq!(event(&mut open(&client).await).await, (leaderless, true));
}

#[tokio::test]
async fn sixteen_listen_and_a_seat_is_free_again_once_one_left() {
    let client = Client::new();
    let mut streams = Vec::new();
    for _ in 0..16 {
        streams.push(open(&client).await);
    }
    assert!(streams.iter().all(|s| s.status() == 200));
    let refused = client.get(LIVE).await;
    assert_eq!((refused.status.as_u16(), refused.bytes.len()), (204, 0));
    assert_eq!(client.get("/api/v1/notifications").await.status, 200, "asking once takes no seat");
    streams.pop();
    assert_eq!(open(&client).await.status(), 200);
}

/// A socket that has asked for the stream, and the head of what it was answered.
async fn ask(address: SocketAddr) -> (TcpStream, String) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(format!("GET {LIVE} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    (socket, String::from_utf8(head).unwrap())
}

#[tokio::test]
async fn a_client_that_closes_its_connection_gives_its_seat_back() {
    let client = Client::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(server::serve(listener, server::main_router(&client.api), std::future::pending()));
    let mut sockets = Vec::new();
    for _ in 0..16 {
        let (socket, head) = ask(address).await;
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        sockets.push(socket);
    }
    assert!(ask(address).await.1.starts_with("HTTP/1.1 204 "));
    sockets.pop();
    let again = async { while ask(address).await.1.starts_with("HTTP/1.1 204 ") {} };
    tokio::time::timeout(PATIENCE, again).await.expect("the seat is free once the server sees that its client left");
    serving.abort();
}

#[tokio::test]
async fn a_stop_is_told_and_not_held_up() {
    let client = Client::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        stopped.await.unwrap();
    };
    let serving = tokio::spawn(server::serve(listener, server::main_router(&client.api), shutdown));
    let (mut socket, _head) = ask(address).await;
    *client.cluster.troubles.lock().unwrap() = Troubles { is_stopping: true, ..Troubles::default() };
    stop.send(()).unwrap();
    tokio::time::timeout(PATIENCE, serving).await.expect("the stream holds up the stop").unwrap().unwrap();
    let mut rest = String::new();
    socket.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("data: {\"text\":\"This node is stopping") && rest.ends_with("\r\n0\r\n\r\n"), "{rest}");
}
