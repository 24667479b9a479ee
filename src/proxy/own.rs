//! What routes answer by themselves, without a backend: redirects, and answers that are always the same.

use http::header::{CONTENT_TYPE, LOCATION};
use http::{Response, StatusCode};
use http_body_util::{Either, Full};

use super::account::Account;
use super::body::Body;
use crate::filter::redirect::location;
use crate::filter::variables::{Facts, field};
use crate::outcome::Refusal;
use crate::state::action::{Action, Answer};
use crate::telemetry::labels::Result as Outcome;

/// The answer of an `action` by itself, to the request of these `facts`; `None` where backends answer. To an extended
/// CONNECT (`is_extended`) any 2xx would say that its tunnel is open (RFC 9110 9.3.6).
///
/// # Errors
/// [`Refusal::NoWebSocket`] in its stead.
pub fn answer(
    action: &Action,
    facts: &Facts<'_>,
    is_extended: bool,
    account: &mut Account,
) -> Result<Option<Response<Body>>, Refusal> {
    let (answer, outcome) = match action {
        Action::Pool(_) | Action::Split(_) => return Ok(None),
        Action::Redirect(redirect) => {
            let mut answer = empty(redirect.status);
            answer.headers_mut().insert(LOCATION, location(&redirect.to, facts));
            (answer, Outcome::Redirected)
        }
        Action::Respond(fixed) if is_extended && fixed.status.is_success() => {
            return Err(Refusal::NoWebSocket);
        }
        Action::Respond(fixed) => (said(fixed, facts), Outcome::Responded),
    };
    account.settled(answer.status(), &outcome);
    Ok(Some(answer))
}

fn said(fixed: &Answer, facts: &Facts<'_>) -> Response<Body> {
    let mut answer = empty(fixed.status);
    let headers = answer.headers_mut();
    if let Some(content_type) = &fixed.content_type {
        headers.insert(CONTENT_TYPE, content_type.clone());
    }
    for (name, value) in &fixed.headers {
        if let Some(value) = field(value, facts) {
            headers.insert(name, value);
        }
    }
    *answer.body_mut() = Either::Right(Full::new(fixed.body.clone()));
    answer
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Either::Right(Full::default()));
    *answer.status_mut() = status;
    answer
}
