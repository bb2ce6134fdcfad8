//! Why another node did not do what it was asked, in words for people.
use std::error::Error as _;

use tonic::{Code, Status};

/// Nobody is there, or nobody who speaks.
pub(crate) const SILENT: &str = "does not answer";
/// The call took longer than it may.
pub(crate) const LATE: &str = "did not answer in time";

/// The reason of a failed call, as it follows the node's name. What the transport says is for those who write transports.
pub(crate) fn refusal(status: &Status) -> String {
    match status.code() {
        Code::Unavailable | Code::Unknown if status.source().is_some() => SILENT.to_owned(),
        Code::DeadlineExceeded | Code::Cancelled => LATE.to_owned(),
        _ if status.message().is_empty() => SILENT.to_owned(),
        _ => status.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_that_is_down_is_put_into_words() {
        let nobody = tonic::transport::Endpoint::from_static("http://127.0.0.1:1").connect().await.unwrap_err();
        let status = Status::from_error(Box::new(nobody));
        assert_eq!(refusal(&status), SILENT, "{status:?}");
        let mut client = crate::rpc::connect("127.0.0.1:1").unwrap();
        let status = client.status(crate::rpc::proto::StatusRequest::default()).await.unwrap_err();
        assert_eq!(refusal(&status), SILENT, "{status:?}");
        assert_eq!(refusal(&Status::unavailable("it is starting")), "it is starting");
        assert_eq!(refusal(&Status::deadline_exceeded("x")), LATE);
    }
}
