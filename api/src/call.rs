//! What happens around every request: readiness, tenant, body under limits, counters, errors in the protocol's words.
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, StatusCode, Version};
use tokio::sync::Semaphore;
use trine_query::scatter::{QueryContext, Scatter};

use crate::body;
use crate::budget::Held;
use crate::config::ApiConfig;
use crate::error::{ApiError, Family};
use crate::params::Params;
use crate::reply;
use crate::server::Connection;
use crate::state::Api;
use crate::tenant::tenant_of;

/// Requests with this header fail instead of answering without a shard that is missing.
const STRICT_HEADER: &str = "x-trine-strict";
/// Requests with this parameter, which VictoriaMetrics has, too, get no answer that is kept from before.
const NO_CACHE: &str = "nocache";
/// Parameter of queries that are to tell what they cost.
pub(crate) const STATS: &str = "stats";
/// Bodies above this are decoded on the blocking pool instead of an HTTP thread.
const DECODE_INLINE_BYTES_MAX: usize = 64 << 10;

/// Decodes at a time, one a core: more would take turns with the threads that answer queries.
static DECODES: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));

pub(crate) type Outcome = Result<Response, ApiError>;

/// One request, past the common checks.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) api: Api,
    pub(crate) tenant: Arc<str>,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) params: Params,
    path: Vec<(String, String)>,
    /// As it came, still encoded; empty for queries (their form is in `params`).
    pub(crate) body: Bytes,
    /// Budget that the body holds; taken along by whoever decodes it.
    pub(crate) held: Held,
}

impl Call {
    /// A percent-decoded part of the path.
    pub(crate) fn path(&self, name: &str) -> &str {
        self.path.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    /// A header's value; empty when absent or not ASCII.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn scatter(&self) -> Arc<dyn Scatter> {
        self.api.backend().scatter()
    }

    /// Context of this query; `timeout_ms` is what the client asked for.
    pub(crate) fn context(&self, timeout_ms: Option<i64>) -> QueryContext {
        let strict = !matches!(self.header(STRICT_HEADER), "" | "0" | "false");
        let no_cache = matches!(self.params.get(NO_CACHE), Some("1" | "true"));
        let count_steps = self.params.get(STATS).is_some_and(|value| !value.is_empty());
        QueryContext { no_cache, count_steps, ..self.api.query_context(&self.tenant, timeout_ms, strict) }
    }
}

/// Runs `decode` here when `bytes_len` is small, otherwise on the blocking pool.
pub(crate) async fn decode_off_thread<T: Send + 'static>(
    bytes_len: usize,
    decode: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    if bytes_len <= DECODE_INLINE_BYTES_MAX {
        return decode();
    }
    let slot = DECODES.acquire().await.map_err(|e| ApiError::Internal(format!("decode slot: {e}")))?;
    let decode = move || {
        let _slot = slot;
        decode()
    };
    tokio::task::spawn_blocking(decode).await.map_err(|e| ApiError::Internal(format!("decode task: {e}")))?
}

/// A query route for GET and POST forms.
pub(crate) fn query<H, F>(family: Family, operation: &'static str, handler: H) -> MethodRouter<Api>
where
    H: Fn(Call) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    query_on(MethodFilter::GET.or(MethodFilter::POST), Ends::WithItsClient, family, operation, handler)
}

/// A route of any method, which its handler looks at; forms are read, other bodies are not.
pub(crate) fn any<H, F>(family: Family, operation: &'static str, handler: H) -> MethodRouter<Api>
where
    H: Fn(Call) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    let methods = [MethodFilter::POST, MethodFilter::PUT, MethodFilter::DELETE];
    let methods = methods.into_iter().fold(MethodFilter::GET, MethodFilter::or);
    query_on(methods, Ends::ByItself, family, operation, handler)
}

/// A route that changes something, told so by a form: POST and PUT.
pub(crate) fn change<H, F>(family: Family, operation: &'static str, handler: H) -> MethodRouter<Api>
where
    H: Fn(Call) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    query_on(MethodFilter::POST.or(MethodFilter::PUT), Ends::ByItself, family, operation, handler)
}

type PathParams = Result<RawPathParams, RawPathParamsRejection>;

/// A query route for GET only.
pub(crate) fn get<H, F>(family: Family, operation: &'static str, handler: H) -> MethodRouter<Api>
where
    H: Fn(Call) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    query_on(MethodFilter::GET, Ends::WithItsClient, family, operation, handler)
}

/// When a request's work is over, beside when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    ByItself,
    /// Once the client has closed its connection: it only asked.
    WithItsClient,
}

impl Ends {
    /// The connection to watch. Over HTTP/2 hyper drops the requests of a client that left.
    fn connection(self, request: &Request) -> Option<Connection> {
        let watched = self == Self::WithItsClient && request.version() < Version::HTTP_2;
        request.extensions().get::<Connection>().filter(|_| watched).cloned()
    }
}

/// The outcome, unless the client leaves before.
async fn while_connected(connection: Option<Connection>, outcome: impl Future<Output = Outcome>) -> Outcome {
    let Some(connection) = connection else { return outcome.await };
    tokio::select! {
        biased;
        outcome = outcome => outcome,
        () = connection.closed() => Err(ApiError::Canceled),
    }
}

fn query_on<H, F>(
    methods: MethodFilter,
    ends: Ends,
    family: Family,
    operation: &'static str,
    handler: H,
) -> MethodRouter<Api>
where
    H: Fn(Call) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    on(methods, move |State(api): State<Api>, path: PathParams, request: Request| {
        let handler = handler.clone();
        async move {
            let started = Instant::now();
            let connection = ends.connection(&request);
            let outcome = async {
                let path = path.map_err(|e| ApiError::BadRequest(e.body_text()))?;
                let call = accept_query(&api, &path, request).await?;
                handler(call).await
            };
            finish(&api, family, operation, started, while_connected(connection, outcome).await)
        }
    })
}

/// A route that takes a body to store: POST only.
pub(crate) fn ingest<H, F>(
    family_of: fn(&HeaderMap) -> Family,
    operation: &'static str,
    bytes_max: fn(&ApiConfig) -> usize,
    handler: H,
) -> MethodRouter<Api>
where
    H: Fn(Call) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    body_on(Ends::ByItself, family_of, operation, bytes_max, handler)
}

/// A route of a query that is a body: POST only.
pub(crate) fn query_body<H, F>(
    family: fn(&HeaderMap) -> Family,
    operation: &'static str,
    bytes_max: fn(&ApiConfig) -> usize,
    handler: H,
) -> MethodRouter<Api>
where
    H: Fn(Call) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    body_on(Ends::WithItsClient, family, operation, bytes_max, handler)
}

fn body_on<H, F>(
    ends: Ends,
    family_of: fn(&HeaderMap) -> Family,
    operation: &'static str,
    bytes_max: fn(&ApiConfig) -> usize,
    handler: H,
) -> MethodRouter<Api>
where
    H: Fn(Call) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    on(MethodFilter::POST, move |State(api): State<Api>, path: RawPathParams, request: Request| {
        let handler = handler.clone();
        async move {
            let started = Instant::now();
            let family = family_of(request.headers());
            let connection = ends.connection(&request);
            let outcome = async {
                let call = accept_body(&api, &path, request, bytes_max(api.config())).await?;
                handler(call).await
            };
            finish(&api, family, operation, started, while_connected(connection, outcome).await)
        }
    })
    .fallback(|| async { reply::text(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed, supported: [POST]") })
}

fn finish(api: &Api, family: Family, operation: &'static str, started: Instant, outcome: Outcome) -> Response {
    let (status, response) = match outcome {
        Ok(response) => (response.status(), response),
        Err(error) => (error.status(family), error.respond(family)),
    };
    api.registry().count_request(operation, status.as_u16(), started.elapsed());
    response
}

async fn accept_query(api: &Api, path: &RawPathParams, request: Request) -> Result<Call, ApiError> {
    let form = matches!(*request.method(), Method::POST | Method::PUT) && is_form(request.headers());
    let uri = request.uri().clone();
    let limit = if form { api.config().form_bytes_max } else { 0 };
    let (parts, inner) = request.into_parts();
    api.check_ready()?;
    let tenant = tenant_of(&parts.headers, api.config().require_tenant)?;
    let (form_body, mut held) = if form {
        body::read(&parts.headers, inner, limit, api.budget()).await?
    } else {
        (Bytes::new(), api.budget().take(0)?)
    };
    held.grow(Params::decoded_bytes(&form_body, &uri))?;
    let params = Params::parse(&form_body, &uri)?;
    let (method, headers, path) = (parts.method, parts.headers, pairs(path));
    Ok(Call { api: api.clone(), tenant, method, headers, params, path, body: Bytes::new(), held })
}

async fn accept_body(api: &Api, path: &RawPathParams, request: Request, bytes_max: usize) -> Result<Call, ApiError> {
    let params = Params::parse(&[], request.uri())?;
    let (parts, inner) = request.into_parts();
    api.check_ready()?;
    let tenant = tenant_of(&parts.headers, api.config().require_tenant)?;
    let (body, held) = body::read(&parts.headers, inner, bytes_max, api.budget()).await?;
    api.registry().count_body(body.len());
    let (method, headers, path) = (parts.method, parts.headers, pairs(path));
    Ok(Call { api: api.clone(), tenant, method, headers, params, path, body, held })
}

fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.trim_start().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded"))
}

fn pairs(path: &RawPathParams) -> Vec<(String, String)> {
    path.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}
