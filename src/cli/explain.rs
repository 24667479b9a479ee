//! `check --explain`: which route a request takes, and why.
//!
//! The request goes the way of one that came to a listener: its head is read as there, and the routes are asked as there.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use clap::Args;
use http::header::{CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

use crate::filter::origin;
use crate::outcome::Refusal;
use crate::proto::list;
use crate::proxy::inbound;
use crate::route::{Candidate, Certificate, Explanation, Step, Verdict};
use crate::state::{Route, Snapshot};

/// How many routes are shown; the others are counted.
const SHOWN_MAX: usize = 50;

/// The request that is asked about.
#[derive(Args)]
pub struct Asked {
    /// Say which route a request takes, and why: a method and a URL, 'GET https://host/path'
    ///
    /// A URL that begins with ws:// or wss://, or -H 'Upgrade: websocket', is a WebSocket handshake; the other fields of
    /// one need not be given.
    #[arg(long, value_name = "REQUEST", conflicts_with = "format", value_parser = target)]
    explain: Option<Target>,
    /// A field of that request, 'Name: value'; may be given several times
    #[arg(short = 'H', long = "header", value_name = "FIELD", requires = "explain", value_parser = field)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The address of its client, as longhaul would find it; without this the client has none
    #[arg(long, value_name = "ADDRESS", requires = "explain")]
    from: Option<IpAddr>,
    /// The subject (CN=alice,O=Example) or a name (DNS:a.example) of its client's certificate; may be given several times
    #[arg(long, value_name = "NAME", requires = "explain", value_parser = certificate_name)]
    client_certificate: Vec<String>,
}

/// A method and a URL.
#[derive(Clone, Debug)]
struct Target {
    written: String,
    method: Method,
    authority: Authority,
    path: PathAndQuery,
    is_websocket: bool,
}

impl Asked {
    /// Whether a request is asked about.
    pub fn is_explained(&self) -> bool {
        self.explain.is_some()
    }

    /// What is to be told, and whether there is a route; `None` when nothing was asked.
    pub fn explain(&self, snapshot: &Snapshot) -> Option<(String, bool)> {
        let target = self.explain.as_ref()?;
        let head = self.head(target);
        // Only HTTP/2 asks for extended CONNECT.
        let (authority, offer) = match inbound::read_head(&head, false, &snapshot.config.limits) {
            Ok(read) => read,
            Err(refusal) => return Some((refused(target, &refusal), false)),
        };
        let (subject, names) = self.certificate();
        let shown = Certificate { subject: subject.as_bytes(), names: names.as_bytes() };
        let certificate = (!self.client_certificate.is_empty()).then_some(shown);
        let client = self.from.map(|ip| ip.to_canonical());
        let wanted = inbound::wanted(&head, &authority, offer.as_ref(), client, certificate);
        let explanation = snapshot.routes.explain(&wanted);
        let mut text = match explanation.winner() {
            Some(winner) => won(target, winner, snapshot),
            None => refused(target, &Refusal::NoRoute),
        };
        if let Some(origins) = explanation.winner().and_then(|winner| winner.target.origins.as_ref())
            && offer.is_some()
            && !origin::admits(origins, &head.headers)
        {
            text += "Its `origins` do not admit this request: it is answered with 403.\n";
        }
        tell(&explanation, &mut text);
        Some((text, explanation.winner().is_some()))
    }

    /// The head as a client of HTTP/1.1 sends it.
    fn head(&self, target: &Target) -> Parts {
        let mut head = Request::new(()).into_parts().0;
        head.method = target.method.clone();
        head.uri = Uri::from(target.path.clone());
        for (name, value) in &self.headers {
            head.headers.append(name, value.clone());
        }
        add(&mut head.headers, HOST, target.authority.as_str());
        if target.is_websocket {
            add(&mut head.headers, UPGRADE, "websocket");
        }
        if list::has_member(&head.headers, &UPGRADE, "websocket") {
            add(&mut head.headers, CONNECTION, "Upgrade");
            add(&mut head.headers, SEC_WEBSOCKET_VERSION, "13");
            add(&mut head.headers, SEC_WEBSOCKET_KEY, "AAAAAAAAAAAAAAAAAAAAAA==");
        }
        head
    }

    /// The subject, and the names, of the client's certificate.
    fn certificate(&self) -> (String, String) {
        let (names, subject): (Vec<String>, Vec<String>) =
            self.client_certificate.iter().cloned().partition(|name| is_alternative(name));
        (subject.join(","), names.join(", "))
    }
}

/// Adds a field that was not given.
fn add(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.entry(name).or_insert(value);
    }
}

fn is_alternative(name: &str) -> bool {
    ["DNS:", "email:", "URI:", "IP:"].iter().any(|kind| name.starts_with(kind))
}

fn won(target: &Target, winner: &Candidate<'_, Arc<Route>>, snapshot: &Snapshot) -> String {
    let config = &snapshot.config;
    let route = config.routes.iter().find(|route| route.name.value == winner.name);
    let place = route.and_then(|route| config.sources.describe(&route.name.place)).unwrap_or_default();
    let action = route.map(|route| route.action.to_string()).unwrap_or_default();
    format!("{} takes route `{}` ({place}), {action}.\n", target.written, winner.name)
}

fn refused(target: &Target, refusal: &Refusal) -> String {
    format!(
        "{} takes no route: it is answered with {}, {refusal}.\n",
        target.written,
        refusal.status().as_u16()
    )
}

/// The candidates, in their order.
fn tell<T>(explanation: &Explanation<'_, T>, text: &mut String) {
    let winner = explanation.winner().map_or("", |winner| winner.name);
    let candidates = explanation.candidates.iter().enumerate();
    let is_shown = |(index, candidate): &(usize, &Candidate<'_, T>)| {
        *index < SHOWN_MAX || candidate.verdict == Verdict::Wins
    };
    let mut shown = 0;
    for (_, candidate) in candidates.filter(is_shown) {
        if shown == 0 {
            text.push_str("\nRoutes of this host, the most specific first:\n");
        }
        shown += 1;
        let verdict = match candidate.verdict {
            Verdict::Wins => "wins".to_owned(),
            Verdict::Later(step) => format!("matches, too; {}", ahead(winner, step)),
            Verdict::Fails => "does not match".to_owned(),
        };
        let _ = writeln!(text, "  {}: {verdict}", candidate.name);
        for check in &candidate.checks {
            let _ = match &check.instead {
                None => writeln!(text, "    yes  {}", check.wanted),
                Some(instead) => writeln!(text, "    no   {}: {instead}", check.wanted),
            };
        }
    }
    for (number, what) in [
        (explanation.candidates.len() - shown, "of this host not shown"),
        (explanation.elsewhere, "of other hosts"),
    ] {
        if number > 0 {
            let plural = if number == 1 { "" } else { "s" };
            let _ = writeln!(text, "  and {number} route{plural} {what}");
        }
    }
}

/// What the route that wins has ahead of another that matches.
fn ahead(winner: &str, step: Step) -> String {
    match step {
        Step::Host => format!("the host of `{winner}` is more specific"),
        Step::Path => format!("the path of `{winner}` is more specific"),
        Step::Count => format!("`{winner}` has more conditions"),
        Step::Conditions => format!("the conditions of `{winner}` are more particular"),
        Step::Name => format!("`{winner}` has the first name"),
    }
}

fn target(written: &str) -> Result<Target, String> {
    const EXAMPLE: &str = "'GET https://chat.example.com/ws'";
    let words: Vec<&str> = written.split_whitespace().collect();
    let [method, url] = words.as_slice() else {
        return Err(format!("write a method and a URL, such as {EXAMPLE}"));
    };
    let Ok(method) = Method::from_bytes(method.as_bytes()) else {
        return Err(format!("`{method}` is not a method: write GET, as in {EXAMPLE}"));
    };
    if method.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(format!("`{method}` has small letters: write {}", method.as_str().to_ascii_uppercase()));
    }
    let parts = url.parse::<Uri>().map(Uri::into_parts);
    let parts =
        parts.map_err(|error| format!("`{url}` is not a URL ({error}): write one as in {EXAMPLE}"))?;
    let scheme = parts.scheme.as_ref().map(Scheme::as_str);
    let is_websocket = match scheme {
        Some("ws" | "wss") => true,
        Some("http" | "https") => false,
        _ => return Err(format!("`{url}` does not begin with https://, http://, wss:// or ws://")),
    };
    let Some(authority) = parts.authority else {
        return Err(format!("`{url}` has no host: write one as in {EXAMPLE}"));
    };
    let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let written = format!("{method} {url}");
    Ok(Target { written, method, authority, path, is_websocket })
}

fn field(written: &str) -> Result<(HeaderName, HeaderValue), String> {
    const EXAMPLE: &str = "write one such as 'X-Canary: 1'";
    let (name, value) = written.split_once(':').ok_or_else(|| format!("a field has a colon: {EXAMPLE}"))?;
    let name = HeaderName::from_bytes(name.trim().as_bytes())
        .map_err(|_| format!("`{}` is not the name of a field: {EXAMPLE}", name.trim()))?;
    let value = HeaderValue::from_bytes(value.trim().as_bytes())
        .map_err(|_| format!("a field cannot have this value: {EXAMPLE}"))?;
    Ok((name, value))
}

fn certificate_name(written: &str) -> Result<String, String> {
    // As backends get it, no name has a comma; a subject may.
    if is_alternative(written) && written.contains(',') {
        return Err("this is more than one name: give each by itself".to_owned());
    }
    if !is_alternative(written) && !written.contains('=') {
        return Err("write a subject such as CN=alice,O=Example, or a name such as DNS:a.example".to_owned());
    }
    Ok(written.to_owned())
}
