//! Log lines as common programs write them: few templates, many numbers, ids, addresses and paths.
use std::fmt::Write;

use rand::Rng;
use rand::rngs::StdRng;

/// What wrote a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An HTTP server's access log.
    Access,
    /// A service that writes JSON.
    Json,
    /// A service that writes logfmt.
    Logfmt,
    /// A Java service.
    Java,
    /// syslog of sshd.
    Sshd,
    /// The kubelet's klog.
    Klog,
}

impl Kind {
    pub(super) const ALL: [Self; 6] = [Self::Access, Self::Json, Self::Logfmt, Self::Java, Self::Sshd, Self::Klog];
}

/// Writes the lines of one stream.
pub(super) struct Writer {
    kind: Kind,
    /// Clients that come again and again.
    clients: Vec<[u8; 4]>,
    pid: u32,
}

const PATHS: [&str; 10] = [
    "/",
    "/login",
    "/cart",
    "/cart/items",
    "/checkout",
    "/api/v1/products",
    "/api/v1/orders",
    "/static/app.css",
    "/healthz",
    "/search",
];
const AGENTS: [&str; 5] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
    "kube-probe/1.29",
    "python-requests/2.32.3",
];
const USERS: [&str; 8] = ["root", "admin", "deploy", "git", "oracle", "test", "ubuntu", "postgres"];

/// One of `items`, the first ones more often.
fn skewed<'a, T>(rng: &mut StdRng, items: &'a [T]) -> &'a T {
    let share: f64 = rng.random::<f64>().powi(2);
    &items[((share * items.len() as f64) as usize).min(items.len() - 1)]
}

/// Milliseconds with a long tail.
fn latency_ms(rng: &mut StdRng) -> f64 {
    2.0 / (1.0 - rng.random::<f64>()).max(1e-4)
}

/// Year, month, day, hour, minute, second and nanosecond of a Unix time, in UTC.
fn civil(time_ns: i64) -> (i64, u32, u32, u32, u32, u32, u32) {
    let seconds = time_ns.div_euclid(1_000_000_000);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400) as u32);
    // Days to a date, after Howard Hinnant's "chrono-compatible low-level date algorithms".
    let z = days + 719_468;
    let (era, of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * shifted + 2) / 5 + 1) as u32;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 } as u32;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day, of_day / 3600, of_day / 60 % 60, of_day % 60, time_ns.rem_euclid(1_000_000_000) as u32)
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Writer {
    pub(super) fn new(kind: Kind, rng: &mut StdRng) -> Self {
        let clients = (0..400).map(|_| [rng.random_range(1..224), rng.random(), rng.random(), rng.random()]).collect();
        Self { kind, clients, pid: rng.random_range(1..60_000) }
    }

    /// Appends the line that is written at `time_ns`.
    pub(super) fn line(&mut self, rng: &mut StdRng, time_ns: i64, out: &mut String) {
        let written = match self.kind {
            Kind::Access => self.access(rng, time_ns, out),
            Kind::Json => json(rng, time_ns, out),
            Kind::Logfmt => logfmt(rng, time_ns, out),
            Kind::Java => java(rng, time_ns, out),
            Kind::Sshd => self.sshd(rng, time_ns, out),
            Kind::Klog => self.klog(rng, time_ns, out),
        };
        written.expect("writing to a string does not fail");
    }

    fn client(&self, rng: &mut StdRng) -> std::net::Ipv4Addr {
        std::net::Ipv4Addr::from(*skewed(rng, &self.clients))
    }

    fn access(&self, rng: &mut StdRng, time_ns: i64, out: &mut String) -> std::fmt::Result {
        let (year, month, day, h, m, s, _) = civil(time_ns);
        let (path, agent, client) = (skewed(rng, &PATHS), skewed(rng, &AGENTS), self.client(rng));
        let status = *skewed(rng, &[200, 200, 200, 200, 200, 304, 404, 302, 500, 502]);
        let bytes = rng.random_range(200..60_000);
        let method = if rng.random_ratio(1, 6) { "POST" } else { "GET" };
        write!(out, "{client} - - [{day:02}/{}/{year}:{h:02}:{m:02}:{s:02} +0000] ", MONTHS[month as usize - 1])?;
        write!(out, "\"{method} {path}?id={} HTTP/1.1\" {status} {bytes} ", rng.random_range(1..5_000))?;
        write!(out, "\"https://shop.example.com{path}\" \"{agent}\" {:.3}", latency_ms(rng) / 1000.0)
    }

    fn sshd(&self, rng: &mut StdRng, time_ns: i64, out: &mut String) -> std::fmt::Result {
        let (_, month, day, h, m, s, _) = civil(time_ns);
        let pid = self.pid + rng.random_range(0..300);
        write!(out, "{} {day:2} {h:02}:{m:02}:{s:02} bastion sshd[{pid}]: ", MONTHS[month as usize - 1])?;
        let (user, client, port) = (skewed(rng, &USERS), self.client(rng), rng.random_range(1024..65_536));
        match rng.random_range(0..5) {
            0 => write!(out, "Failed password for {user} from {client} port {port} ssh2"),
            1 => write!(out, "Invalid user {user} from {client} port {port}"),
            2 => write!(out, "Received disconnect from {client} port {port}:11: Bye Bye [preauth]"),
            3 => write!(
                out,
                "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={client}  user={user}"
            ),
            _ => write!(out, "Connection closed by authenticating user {user} {client} port {port} [preauth]"),
        }
    }

    fn klog(&self, rng: &mut StdRng, time_ns: i64, out: &mut String) -> std::fmt::Result {
        let (_, month, day, h, m, s, ns) = civil(time_ns);
        let level = skewed(rng, &["I", "I", "I", "W", "E"]);
        write!(out, "{level}{month:02}{day:02} {h:02}:{m:02}:{s:02}.{:06} {:7} ", ns / 1000, self.pid)?;
        let pod = format_args!("shop/checkout-{:05x}", rng.random_range(0..400) * 2_621).to_string();
        match rng.random_range(0..4) {
            0 => write!(
                out,
                "kubelet.go:2419] \"SyncLoop (PLEG): event for pod\" pod=\"{pod}\" event={{\"Type\":\"ContainerStarted\",\"Data\":\"{:016x}{:016x}\"}}",
                rng.random::<u64>(),
                rng.random::<u64>()
            ),
            1 => write!(
                out,
                "prober.go:107] \"Probe failed\" probeType=\"Readiness\" pod=\"{pod}\" containerName=\"app\" probeResult=\"failure\" output=\"HTTP probe failed with statuscode: 503\""
            ),
            2 => write!(
                out,
                "reconciler_common.go:218] \"operationExecutor.MountVolume started for volume \\\"kube-api-access-{:05x}\\\" pod=\"{pod}\"",
                rng.random_range(0..0x10_0000)
            ),
            _ => write!(
                out,
                "pod_startup_latency_tracker.go:102] \"Observed pod startup duration\" pod=\"{pod}\" podStartSLOduration={:.9} pullsCount={}",
                latency_ms(rng) / 100.0,
                rng.random_range(0..3)
            ),
        }
    }
}

fn rfc3339(out: &mut String, time_ns: i64, separator: char) -> std::fmt::Result {
    let (year, month, day, h, m, s, ns) = civil(time_ns);
    write!(out, "{year}-{month:02}-{day:02}{separator}{h:02}:{m:02}:{s:02}.{:03}", ns / 1_000_000)
}

fn json(rng: &mut StdRng, time_ns: i64, out: &mut String) -> std::fmt::Result {
    let level = skewed(rng, &["info", "info", "info", "debug", "warn", "error"]);
    out.push_str("{\"ts\":\"");
    rfc3339(out, time_ns, 'T')?;
    write!(
        out,
        "Z\",\"level\":\"{level}\",\"caller\":\"checkout/handler.go:{}\",",
        skewed(rng, &[88, 131, 142, 203, 377])
    )?;
    let (trace, user) = (rng.random::<u128>(), rng.random_range(1..20_000));
    match rng.random_range(0..3) {
        0 => write!(
            out,
            "\"msg\":\"order placed\",\"order_id\":\"{:08x}-{:04x}\",\"user_id\":{user},\"amount\":{}.{:02},\"currency\":\"EUR\",\"trace_id\":\"{trace:032x}\"}}",
            rng.random::<u32>(),
            rng.random::<u16>(),
            rng.random_range(5..400),
            rng.random_range(0..100)
        ),
        1 => write!(
            out,
            "\"msg\":\"request completed\",\"method\":\"POST\",\"path\":\"{}\",\"status\":200,\"duration_ms\":{:.2},\"user_id\":{user},\"trace_id\":\"{trace:032x}\"}}",
            skewed(rng, &PATHS),
            latency_ms(rng)
        ),
        _ => write!(
            out,
            "\"msg\":\"cache miss\",\"key\":\"product:{}\",\"duration_ms\":{:.2},\"trace_id\":\"{trace:032x}\"}}",
            rng.random_range(1..8_000),
            latency_ms(rng)
        ),
    }
}

fn logfmt(rng: &mut StdRng, time_ns: i64, out: &mut String) -> std::fmt::Result {
    out.push_str("ts=");
    rfc3339(out, time_ns, 'T')?;
    let level = skewed(rng, &["info", "info", "info", "debug", "warn", "error"]);
    let component = skewed(rng, &["server", "compactor", "pricing", "stock"]);
    write!(out, "Z level={level} component={component} ")?;
    match rng.random_range(0..3) {
        0 => write!(
            out,
            "msg=\"request handled\" method=GET path={} status={} duration={:.3}ms size={}",
            skewed(rng, &PATHS),
            skewed(rng, &[200, 200, 404, 500]),
            latency_ms(rng),
            rng.random_range(100..9_000)
        ),
        1 => write!(
            out,
            "msg=\"connection to upstream retried\" upstream=10.20.{}.{}:8080 attempt={} err=\"context deadline exceeded\"",
            rng.random_range(0..4),
            rng.random_range(2..250),
            rng.random_range(1..5)
        ),
        _ => write!(
            out,
            "msg=\"batch flushed\" items={} bytes={} took={:.3}ms",
            rng.random_range(1..500),
            rng.random_range(500..400_000),
            latency_ms(rng)
        ),
    }
}

fn java(rng: &mut StdRng, time_ns: i64, out: &mut String) -> std::fmt::Result {
    rfc3339(out, time_ns, ' ')?;
    let level = skewed(rng, &["INFO ", "INFO ", "DEBUG", "WARN ", "ERROR"]);
    write!(out, " {level} [http-nio-8080-exec-{}] com.example.shop.", rng.random_range(1..40))?;
    match rng.random_range(0..4) {
        0 => write!(
            out,
            "payment.PaymentService : Charged card ending {:04} for order {} in {} ms",
            rng.random_range(0..10_000),
            rng.random_range(100_000..999_999),
            latency_ms(rng) as u32
        ),
        1 => write!(
            out,
            "stock.StockRepository : Hibernate: select s.id, s.amount, s.version from stock s where s.id={} for update",
            rng.random_range(1..5_000)
        ),
        2 => write!(
            out,
            "billing.InvoiceJob : Invoice INV-{} rendered, {} pages, {} bytes",
            rng.random_range(1_000_000..9_999_999),
            rng.random_range(1..9),
            rng.random_range(10_000..90_000)
        ),
        _ => write!(
            out,
            "web.RequestFilter : {} {} -> {} ({} ms) session={:016x}",
            skewed(rng, &["GET", "POST"]),
            skewed(rng, &PATHS),
            skewed(rng, &[200, 200, 201, 400]),
            latency_ms(rng) as u32,
            rng.random::<u64>()
        ),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn dates() {
        assert_eq!(civil(0), (1970, 1, 1, 0, 0, 0, 0));
        assert_eq!(civil(951_827_696_000_000_005), (2000, 2, 29, 12, 34, 56, 5));
        assert_eq!(civil(1_798_761_599_999_999_999), (2026, 12, 31, 23, 59, 59, 999_999_999));
    }

    #[test]
    fn every_kind_writes_one_line() {
        for kind in Kind::ALL {
            let mut rng = StdRng::seed_from_u64(3);
            let mut writer = Writer::new(kind, &mut rng);
            for _ in 0..200 {
                let mut line = String::new();
                writer.line(&mut rng, 1_795_220_957_423_660_790, &mut line);
                assert!((40..500).contains(&line.len()) && !line.contains('\n'), "{kind:?}: {line}");
                if kind == Kind::Json {
                    assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{line}");
                }
            }
        }
    }
}
