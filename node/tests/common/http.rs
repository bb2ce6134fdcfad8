//! Requests to one base URL.
use reqwest::header::HeaderMap;
use serde_json::Value;

/// A client of one base URL.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    base: String,
    client: reqwest::Client,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    url: String,
}

/// (name, value) pairs of a query string, a form or headers.
pub(crate) type Pairs<'a> = [(&'a str, &'a str)];

impl Http {
    pub(crate) fn new(base: &str) -> Self {
        Self { base: base.to_owned(), client: reqwest::Client::new() }
    }

    /// `GET path?query`; the error says what kept the answer away.
    pub(crate) async fn try_get(&self, path: &str, query: &Pairs<'_>) -> Result<Reply, String> {
        self.read(self.client.get(self.at(path)).query(query)).await
    }

    /// `GET path?query`, whatever its status.
    pub(crate) async fn get(&self, path: &str, query: &Pairs<'_>) -> Reply {
        self.try_get(path, query).await.expect("the server answers")
    }

    /// `GET path?query` with headers, whatever its status.
    pub(crate) async fn get_with(&self, path: &str, query: &Pairs<'_>, headers: &Pairs<'_>) -> Reply {
        let mut request = self.client.get(self.at(path)).query(query);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.read(request).await.expect("the server answers")
    }

    /// The JSON of `GET path?query`, which must be 200.
    pub(crate) async fn json(&self, path: &str, query: &Pairs<'_>) -> Value {
        self.get(path, query).await.json()
    }

    /// `POST path` with a form, as Grafana asks Prometheus.
    pub(crate) async fn post_form(&self, path: &str, form: &Pairs<'_>) -> Reply {
        self.post_form_with(path, form, &[]).await
    }

    /// As [`Self::post_form`], with headers.
    pub(crate) async fn post_form_with(&self, path: &str, form: &Pairs<'_>, headers: &Pairs<'_>) -> Reply {
        let mut request = self.client.post(self.at(path)).form(form);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.read(request).await.expect("the server answers")
    }

    /// `POST path` with a body.
    pub(crate) async fn post(&self, path: &str, headers: &Pairs<'_>, body: Vec<u8>) -> Reply {
        let mut request = self.client.post(self.at(path)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.read(request).await.expect("the server answers")
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    async fn read(&self, request: reqwest::RequestBuilder) -> Result<Reply, String> {
        let answer = request.send().await.map_err(|e| format!("{e:?}"))?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let url = answer.url().to_string();
        let body = answer.bytes().await.map_err(|e| format!("{url}: {e:?}"))?.to_vec();
        Ok(Reply { status, headers, body, url })
    }
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Itself when its status is 2xx, else what it said.
    pub(crate) fn success(self) -> Result<Self, String> {
        if (200..300).contains(&self.status) { Ok(self) } else { Err(format!("{} {}", self.status, self.text())) }
    }

    /// The JSON body of a 200.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}: {}", self.url, self.text());
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{}: {e}: {}", self.url, self.text()))
    }

    /// `Content-Type`, empty when absent.
    pub(crate) fn content_type(&self) -> &str {
        self.headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}
