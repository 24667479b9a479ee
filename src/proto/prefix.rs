//! A path whose first segments are others for the backend than for the client.
//!
//! Only whole segments are a prefix, compared as they were sent. What follows is passed on as it is: percent-encoding and
//! query stay. Two things are seen to. What is left must not begin with two slashes, or with a slash and a backslash, which
//! many readers take for the beginning of a host. And no `..` may lead out of what is served: a backend that resolves
//! `/files/../secret` would serve what no client could have named. Such a path is refused ([`PrefixError::Climbs`]), however it is
//! written: clients resolve their paths before they send them.

use std::error::Error;
use std::fmt;

use http::Uri;
use http::uri::PathAndQuery;

/// What stands at the beginning of a path, and what is to stand there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// Without a slash at its end: `/api`, or nothing for every path.
    from: String,
    /// Likewise.
    to: String,
}

/// Why a path cannot begin otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixError {
    /// It may lead out of what is served.
    Climbs,
    /// It would be longer than a target can be.
    TooLong,
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PrefixError::Climbs => "the path has a .. in it; send it resolved",
            PrefixError::TooLong => "the target is too long",
        })
    }
}

impl Error for PrefixError {}

impl Replacement {
    /// Puts `to` in place of `from`; both begin with a slash, and one at their end means nothing.
    pub fn new(from: &str, to: &str) -> Replacement {
        let trim = |path: &str| path.trim_end_matches('/').to_owned();
        Replacement { from: trim(from), to: trim(to) }
    }

    /// The target with the other beginning, in origin form; `None` if it does not begin so.
    ///
    /// # Errors
    /// [`PrefixError`]
    pub fn apply(&self, target: &Uri) -> Result<Option<Uri>, PrefixError> {
        let Some(rest) = self.rest(target.path()) else { return Ok(None) };
        if climbs(rest) {
            return Err(PrefixError::Climbs);
        }
        let mut path = self.to.clone();
        let rest = if path.is_empty() { rest.trim_start_matches(['/', '\\']) } else { rest };
        if !rest.starts_with('/') && (path.is_empty() || !rest.is_empty()) {
            path.push('/');
        }
        path.push_str(rest);
        if let Some(query) = target.query() {
            path.push('?');
            path.push_str(query);
        }
        // All of it is as in targets.
        PathAndQuery::try_from(path).map(|target| Some(Uri::from(target))).map_err(|_| PrefixError::TooLong)
    }

    /// What follows the prefix: nothing, or what begins with a slash.
    fn rest<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.from.as_str())?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }
}

/// Whether a segment is `..` to anybody: encoded or not, behind an encoded slash or a backslash, before parameters.
fn climbs(path: &str) -> bool {
    if !path.contains("..") && !path.contains('%') {
        return false;
    }
    let plain = path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "\\");
    plain.split(['/', '\\']).any(|segment| segment.split(';').next() == Some(".."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn apply(from: &str, to: &str, target: &str) -> Result<Option<String>, PrefixError> {
        let replaced = Replacement::new(from, to).apply(&target.parse().unwrap());
        replaced.map(|uri| uri.map(|uri| uri.to_string()))
    }

    #[test]
    fn whole_segments_are_replaced_and_the_rest_stays() {
        for (from, to, target, expected) in [
            ("/api", "/", "/api", Some("/")),
            ("/api", "/", "/api/", Some("/")),
            ("/api/", "/", "/api", Some("/")),
            ("/api", "/", "/api/x", Some("/x")),
            ("/api", "/", "/api?x=/api/..", Some("/?x=/api/..")),
            ("/api", "/", "/api/x/?", Some("/x/?")),
            ("/api", "/", "/api/%2Fx%20y/%41", Some("/%2Fx%20y/%41")),
            ("/api", "/", "/apis", None),
            ("/api", "/", "/API/x", None),
            ("/api", "/", "/", None),
            ("/api", "/", "/%61pi/x", None),
            ("/api", "/", "http://a.example/api/x?y", Some("/x?y")),
            ("/api", "/v2", "/api", Some("/v2")),
            ("/api", "/v2/", "/api/", Some("/v2/")),
            ("/api", "/v2", "/api/x?y", Some("/v2/x?y")),
            ("/api", "/v2", "/api//x", Some("/v2//x")),
            ("/", "/app", "/", Some("/app/")),
            ("/", "/app", "/x/y?z", Some("/app/x/y?z")),
            ("/a/b", "/c", "/a/b/d", Some("/c/d")),
            ("/a/b", "/c", "/a", None),
        ] {
            assert_eq!(apply(from, to, target), Ok(expected.map(str::to_owned)), "{from} {to} {target}");
        }
    }

    #[test]
    fn what_is_left_is_no_other_host() {
        for target in [
            "/api//evil.example/x",
            "/api/////evil.example/x",
            "/api/\\evil.example/x",
            "/api//\\/evil.example/x",
        ] {
            assert_eq!(apply("/api", "/", target), Ok(Some("/evil.example/x".to_owned())), "{target}");
        }
    }

    #[test]
    fn nothing_climbs_out() {
        for rest in [
            "/..",
            "/../x",
            "/x/../../y",
            "/%2e%2e/x",
            "/.%2E/x",
            "/%2E./x",
            "/x/..",
            "/..;a=b/x",
            "/x%2f..%2fy",
            "/x%2F%2e%2e",
            "/..\\x",
            "/x\\..",
            "/x%5c..",
            "//..",
        ] {
            assert_eq!(apply("/api", "/v2", &format!("/api{rest}")), Err(PrefixError::Climbs), "{rest}");
        }
        for rest in ["/.", "/...", "/..x", "/x..", "/.%2e.", "/.;..", "/%2e", "?..", "/x?/../", "/%252e%252e"]
        {
            assert!(apply("/api", "/v2", &format!("/api{rest}")).is_ok_and(|uri| uri.is_some()), "{rest}");
        }
        assert_eq!(
            apply("/api", "/v2", "/other/../api"),
            Ok(None),
            "what is not touched is passed on as ever"
        );
    }

    proptest! {
        #[test]
        fn the_result_is_a_path_below(
            rest in "(/|\\\\|\\.|%2e|%2F|a|;|%5C){0,10}", query in "(\\?[a-z/=.]{0,6})?", to in "(/[a-z]{1,3}){0,2}",
        ) {
            let target = format!("/api/{rest}{query}");
            if let Ok(Some(path)) = apply("/api", &to, &target) {
                prop_assert!(path.starts_with(&format!("{to}/")), "{}", path);
                prop_assert!(!path.starts_with("//") && !path.starts_with("/\\"), "{}", path);
                prop_assert_eq!(path.split_once('?').map(|(_, query)| query), target.split_once('?').map(|(_, query)| query));
            }
        }
    }
}
