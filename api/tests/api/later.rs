//! Paths of the originals that are not served yet.
use crate::client::Client;

#[tokio::test]
async fn what_is_not_there_yet_says_so_in_its_protocols_words() {
    let client = Client::new();
    let line = |what: &str| format!("{what}: not implemented yet\n");
    for (path, text) in [
        ("/loki/api/v1/tail?query=%7B%7D", line("tailing")),
        ("/loki/api/v1/delete", line("deletion requests")),
        ("/loki/api/v1/index/shards", line("index shards")),
    ] {
        for answer in [client.get(path).await, client.post(path, &[], "").await] {
            assert_eq!((answer.status.as_u16(), answer.text()), (501, text.clone()), "{path}");
        }
    }
}
