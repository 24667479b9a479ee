//! Reaching a backend, and another one where that cannot make anything happen twice.
//!
//! A connection that does not come about costs nobody anything but time, so the next backend is asked at once, as long as
//! there is enough of it, and the others hear of it ([`reach`](super::reach)). Once a backend has got a request, only a pool with a [`Retry`] lets it go on to another: when there was not a byte of an answer in time
//! or at all, or when the answer was one of its statuses. That puts load on backends that may be sick, so it waits
//! ([`mod@back_off`]), and comes out of a [`Budget`].
//!
//! No backend is tried twice by one request: what failed a moment ago fails again, more often than not, and is the one
//! that needs to be left alone. So in a pool of one there are no retries.

pub mod back_off;
pub mod budget;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use self::back_off::back_off;
use self::budget::Budget;
use super::backend::{Backend, Health, Lease, Seat};
use super::ejection;
use super::members::{Lack, Tried, Wish};
use super::pool::Pool;
use crate::config::{self, State, Tcp};
use crate::net::dial::{self, DialError, Way};
use crate::net::stream::Stream;
use crate::outcome::{ConnectError, Fault, Refusal, RetryCause};
use crate::proto::proxy_header::Header;
use crate::telemetry::Metrics;

/// The retries of a pool.
#[derive(Debug)]
pub struct Retry {
    /// When there are any.
    pub rules: config::Retry,
    /// The same in all generations.
    budget: Arc<Budget>,
}

impl Retry {
    /// By these rules, out of this budget.
    pub fn new(rules: config::Retry, budget: Arc<Budget>) -> Retry {
        Retry { rules, budget }
    }
}

/// How many times `connect_timeout` one request waits for connections, at most.
const CONNECT_TIMEOUTS_MAX: u32 = 4;

/// The search of one request for a backend that can be reached.
pub struct Search<'a> {
    /// Where it searches.
    pub pool: &'a Pool,
    /// Where it counts.
    pub metrics: &'a Metrics,
    wish: Wish,
    way: Way<'a>,
    tried: Tried,
    /// How long it has waited for connections that did not come about.
    waited: Duration,
    /// How often it has gone on after a backend had got the request.
    retries: u32,
    /// What the last backend said.
    failure: Refusal,
}

impl<'a> Search<'a> {
    /// Begins; `wish` is what the choice depends on, `client` for whom it is, for pools whose backends are told.
    pub fn begin(
        pool: &'a Pool,
        wish: Wish,
        client: &Header,
        tcp: &'a Tcp,
        metrics: &'a Metrics,
    ) -> Search<'a> {
        let hello = pool.proxy_protocol.map(|version| client.write(version));
        let way = Way { hello, tls: pool.tls.as_ref(), tcp, sources: &pool.sources };
        if let Some(retry) = &pool.retry {
            retry.budget.request(std::time::Instant::now());
        }
        let is_empty = pool.members.all().is_empty();
        let failure = if is_empty { Refusal::NoBackendYet } else { Refusal::NoBackend };
        Search {
            pool,
            metrics,
            wish,
            way,
            tried: Tried::default(),
            waited: Duration::ZERO,
            retries: 0,
            failure,
        }
    }

    /// A connection to a backend for a tunnel, and the seat there.
    ///
    /// # Errors
    /// As [`Search::pick`] and [`Search::reach`]; [`Refusal::QueueFull`] and [`Refusal::QueueTimeout`].
    pub async fn connect(&mut self) -> Result<(Seat, Stream), Refusal> {
        let seat = self.seat().await?;
        self.reach(seat).await
    }

    /// The same, first to the backend of `seat`.
    ///
    /// # Errors
    /// When no backend is left, or no other may be tried, [`Refusal::Unreachable`]; [`Refusal::BackendRate`].
    pub async fn reach(&mut self, mut seat: Seat) -> Result<(Seat, Stream), Refusal> {
        loop {
            let is_its_turn = self.pace(seat.backend()).await;
            if is_its_turn && let Some(stream) = self.dial(seat.backend()).await? {
                return Ok((seat, stream));
            }
            drop(seat);
            seat = self.seat().await?;
            if is_its_turn {
                self.count(RetryCause::Connect);
            }
        }
    }

    /// The same for a plain request, first to the backend of `lease`.
    ///
    /// # Errors
    /// As [`Search::reach`].
    pub async fn connect_from(&mut self, mut lease: Lease) -> Result<(Lease, Stream), Refusal> {
        loop {
            if let Some(stream) = self.dial(lease.backend()).await? {
                return Ok((lease, stream));
            }
            lease = self.pick()?;
            self.count(RetryCause::Connect);
        }
    }

    /// A seat at the next backend to try, for which a request waits in line where all are full. Having tried one it goes
    /// past the line, for it was in it before, and does not wait again.
    ///
    /// # Errors
    /// As [`Search::pick`]; [`Refusal::QueueFull`] and [`Refusal::QueueTimeout`].
    async fn seat(&mut self) -> Result<Seat, Refusal> {
        let (members, is_new) = (&self.pool.members, self.tried.is_empty());
        if !(is_new && members.is_limited() && self.pool.queue.waiting() > 0) {
            match members.seat(self.wish, &mut self.tried) {
                Ok(seat) => return Ok(seat),
                Err(Lack::Seats) if is_new => {}
                Err(_) => return Err(self.failure.clone()),
            }
        }
        // Few wait, and all would have to make room for it.
        Box::pin(self.wait()).await
    }

    async fn wait(&mut self) -> Result<Seat, Refusal> {
        let (queue, bounds) = (self.pool.queue.clone(), self.pool.queue_bounds);
        self.pool.metrics.waited.increment();
        let found = queue.wait(bounds.waiting_max, || match self.look() {
            Ok(seat) => Some(Ok(seat)),
            Err(Lack::Seats) => None,
            Err(Lack::Backends) => Some(Err(self.failure.clone())),
        });
        match timeout(bounds.timeout, found).await {
            Ok(Some(found)) => found,
            Ok(None) => Err(Refusal::QueueFull),
            Err(_) => Err(Refusal::QueueTimeout),
        }
    }

    /// Looks for a seat at those that are there now: while it waited, a reload may have added some.
    fn look(&mut self) -> Result<Seat, Lack> {
        match self.pool.queue.newest().filter(|newest| newest.is_reached_as(self.pool)) {
            // Its cookie names a place among others.
            Some(newest) if !std::ptr::eq(&*newest, self.pool) => {
                let wish = Wish { key: self.wish.key, ..Wish::default() };
                let seat = newest.members.seat(wish, &mut Tried::default())?;
                self.tried.add_stranger();
                Ok(seat)
            }
            _ => self.pool.members.seat(self.wish, &mut self.tried),
        }
    }

    /// Waits until it is the backend's turn to get a handshake; `false` when another one must be asked, because that would be
    /// too late, or because it may get none any more.
    async fn pace(&mut self, backend: &Arc<Backend>) -> bool {
        let Some(words) = &self.pool.handshake_rate else { return true };
        match backend.bucket.take(words) {
            Ok(None) => true,
            Ok(Some(turn)) => {
                self.pool.metrics.delayed.increment();
                let state = backend.standing.state();
                // Few wait, and all would have to make room for the timers.
                match Box::pin(turn.wait()).await {
                    Ok(()) => self.is_still(backend, state),
                    Err(wait) => self.is_too_late(wait),
                }
            }
            Err(wait) => self.is_too_late(wait),
        }
    }

    /// It is not a backend's turn within the time that there is.
    fn is_too_late(&mut self, wait: Duration) -> bool {
        self.failure = Refusal::BackendRate(wait);
        false
    }

    /// Whether a backend that was in this state before a wait may still be chosen.
    fn is_still(&self, backend: &Arc<Backend>, before: State) -> bool {
        let (state, newest) = (backend.standing.state(), self.pool.queue.newest());
        let is_named = newest.filter(|newest| !std::ptr::eq(&**newest, self.pool)).is_none_or(|newest| {
            newest.members.all().iter().any(|member| Arc::ptr_eq(&member.backend, backend))
        });
        is_named && (state == State::Active || state == before) && backend.health() != Health::Down
    }

    /// The next backend to try for a plain request, which takes no seat and waits for none.
    ///
    /// # Errors
    /// When none is left, what the last one tried said; [`Refusal::NoBackend`] when none may be picked at all, and
    /// [`Refusal::NoBackendYet`] when there is none.
    pub fn pick(&mut self) -> Result<Lease, Refusal> {
        self.pool.members.pick(self.wish, &mut self.tried).ok_or_else(|| self.failure.clone())
    }

    /// A new connection; `None` when it did not come about, and another backend may be tried.
    async fn dial(&mut self, backend: &Arc<Backend>) -> Result<Option<Stream>, Refusal> {
        let begun = std::time::Instant::now();
        let patience = self.pool.connect_timeout.min(self.patience());
        let error = match dial::connect(&backend.address, &self.way, patience).await {
            Ok(stream) => {
                backend.conduct.succeeded(Fault::Connect);
                backend.reached();
                return Ok(Some(stream));
            }
            Err(error) => error,
        };
        self.metrics.connect_error(&self.pool.name, &backend.label, error.error);
        if ejection::unreachable(self.pool, backend, &error, self.metrics) {
            backend.unreached(begun);
        }
        tell_log(backend, &error);
        self.waited += begun.elapsed();
        self.failure = Refusal::Unreachable(error.error);
        if self.failure.tries_another() && self.may_try_another() {
            Ok(None)
        } else {
            Err(self.failure.clone())
        }
    }

    /// How long it may still wait for connections.
    fn patience(&self) -> Duration {
        self.pool.connect_timeout.saturating_mul(CONNECT_TIMEOUTS_MAX).saturating_sub(self.waited)
    }

    /// Whether another backend would have the time to be reached, and the rules let it be tried at all.
    fn may_try_another(&self) -> bool {
        let is_only_one = self.rules().is_some_and(|rules| rules.attempts == 1);
        !is_only_one && self.patience() * 2 >= self.pool.connect_timeout
    }

    /// The rules by which a request goes on that a backend has got; `None` when it does not.
    pub fn rules(&self) -> Option<&'a config::Retry> {
        self.pool.retry.as_ref().map(|retry| &retry.rules)
    }

    /// The backend that a plain request goes on to which another one has got; `None` when it must not go on. Returns when
    /// it is time to, which is before `deadline`.
    pub async fn go_on(&mut self, cause: RetryCause, deadline: Instant) -> Option<Lease> {
        let wait = self.back_off(deadline)?;
        let lease = self.pick().ok()?;
        let before = lease.backend().standing.state();
        match self.spend(cause, wait).await {
            true if self.is_still(lease.backend(), before) => Some(lease),
            true => self.pick().ok(),
            false => None,
        }
    }

    /// The same for a handshake.
    pub async fn go_on_seated(&mut self, cause: RetryCause, deadline: Instant) -> Option<Seat> {
        let wait = self.back_off(deadline)?;
        let seat = self.seat().await.ok()?;
        let before = seat.backend().standing.state();
        match self.spend(cause, wait).await {
            true if self.is_still(seat.backend(), before) => Some(seat),
            true => self.seat().await.ok(),
            false => None,
        }
    }

    /// How long to wait before the next retry; `None` when that is not before `deadline`, or when there were enough.
    fn back_off(&self, deadline: Instant) -> Option<Duration> {
        let is_left = |rules: &&config::Retry| (self.retries as usize) + 1 < rules.attempts;
        let wait = back_off(self.rules().filter(is_left)?, self.retries, fastrand::f64());
        (Instant::now() + wait < deadline).then_some(wait)
    }

    /// Takes a retry out of the budget, and waits; `false` when it is spent.
    async fn spend(&mut self, cause: RetryCause, wait: Duration) -> bool {
        let Some(retry) = &self.pool.retry else { return false };
        if !retry.budget.take(&retry.rules, std::time::Instant::now()) {
            self.pool.metrics.retries_refused.increment();
            return false;
        }
        self.retries += 1;
        self.count(cause);
        if !wait.is_zero() {
            sleep(wait).await;
        }
        true
    }

    fn count(&self, cause: RetryCause) {
        self.pool.metrics.retries(cause).increment();
    }
}

/// What does not pass by itself, as failures of TLS and a lack of ports, is said aloud, now and then.
fn tell_log(backend: &Backend, DialError { error, detail }: &DialError) {
    let (pool, address, error_label) = (&backend.pool, &backend.label, error.label());
    let remedy = error.remedy();
    let lasting = matches!(error, ConnectError::Certificate | ConnectError::Tls) || remedy.is_some();
    if lasting && backend.may_complain() {
        tracing::warn!(%pool, backend = %address, error = error_label, detail, remedy, "cannot connect");
    } else {
        tracing::debug!(%pool, backend = %address, error = error_label, detail, "cannot connect");
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::*;
    use crate::config::{self, Balance, Config, Statuses};
    use crate::upstream::balance::tests::members;
    use crate::upstream::members::Members;

    /// A pool of one backend that carries one tunnel.
    fn pool(metrics: &Metrics) -> Pool {
        let mut members = members(&[1]);
        members[0].seats_max = Some(1);
        members[0].backend.set_seats_max(Some(1));
        let second = Duration::from_secs(1);
        Pool {
            name: Arc::from("p"),
            backends: [].into(),
            queue: members[0].backend.queue.clone(),
            members: Members::new(&Balance::RoundRobin, members),
            secrets: None,
            tls: None,
            proxy_protocol: None,
            keepalive: None,
            sources: crate::net::source::Sources::default(),
            health: None,
            ejection: None,
            retry: None,
            queue_bounds: config::Queue { waiting_max: 9, timeout: second },
            handshake_rate: None,
            connect_timeout: second,
            handshake_timeout: second,
            response_timeout: second,
            metrics: metrics.pool("p"),
        }
    }

    /// Rules of some kind.
    pub fn rules() -> config::Retry {
        config::Retry {
            attempts: 4,
            try_timeout: None,
            statuses: Statuses(Vec::new()),
            back_off: Duration::from_millis(25),
            back_off_max: Duration::from_millis(250),
            budget: 20,
            budget_per_second: 3,
        }
    }

    #[tokio::test]
    async fn who_comes_while_others_wait_does_not_go_past_them() {
        let text = "[[listeners]]\nname = \"l\"\naddress = \"127.0.0.1:1\"\n[[routes]]\nname = \"r\"\npool = \"p\"\n\
                    [pools.p]\nbackends = [\"a:1\"]\n";
        let config = Config::parse("a.toml", text, Path::new("/")).unwrap_or_else(|all| panic!("{all}"));
        let metrics = Metrics::new(1);
        let (pool, client) = (pool(&metrics), Header::Unknown);
        let search = || Search::begin(&pool, Wish::default(), &client, &config.tcp, &metrics);
        let [mut first, mut second, mut third] = [search(), search(), search()];
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(seat)) = pin!(first.seat()).as_mut().poll(&mut context) else {
            panic!("it is free")
        };
        let mut waiting = pin!(second.seat());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        drop(seat);
        // The seat is free now, and who waits has not had the time to take it.
        assert_eq!(pool.members.all()[0].backend.seats_free(), Some(1));
        assert!(pin!(third.seat()).as_mut().poll(&mut context).is_pending());
        assert!(waiting.as_mut().poll(&mut context).is_ready());
    }
}
