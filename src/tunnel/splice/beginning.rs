//! How a tunnel begins: with what arrived together with the handshake, and with what its route asks for.

use tokio::time::sleep_until;

use super::{Leg, Splice, Streams, deadlines};
use crate::config::Inspect;
use crate::outcome::Party;
use crate::proto::weave::{Offence, Weave};
use crate::telemetry::labels::Direction;
use crate::tunnel::Terms;
use crate::tunnel::care::Care;
use crate::tunnel::flow::Flow;
use crate::tunnel::recorder::Recorder;
use crate::tunnel::sessions::{Registration, Session};
use crate::tunnel::tap::Tap;

impl Splice {
    /// Joins `client` and `backend`.
    pub fn new(client: Leg, backend: Leg, registration: Registration) -> Splice {
        let session = registration.session();
        let mut recorder = session.terms.record_frames.map(|count| Box::new(Recorder::new(count)));
        let (up, client_offends) = flow(&client, Direction::ToBackend, session, recorder.as_deref_mut());
        let (down, backend_offends) = flow(&backend, Direction::ToClient, session, recorder.as_deref_mut());
        let timer = Box::pin(sleep_until(deadlines::first(session)));
        let mut splice = Splice {
            streams: Some(Streams { client: client.stream, backend: backend.stream }),
            up,
            down,
            closer: None,
            ended_by: None,
            ended_at: session.opened(),
            timer,
            timer_set: true,
            was_cut: false,
            parting: None,
            care: recorder.map(|recorder| Box::new(Care { recorder: Some(recorder), ..Care::default() })),
            registration,
        };
        for (outcome, party) in [(client_offends, Party::Client), (backend_offends, Party::Backend)] {
            if let Err(offence) = outcome {
                splice.end_for_offence(party, offence);
            }
        }
        splice
    }
}

/// What comes from one leg, as the route wants it looked at; nothing can be asked of what is not read.
fn flow(
    leg: &Leg,
    direction: Direction,
    session: &Session,
    recorder: Option<&mut Recorder>,
) -> (Flow, Result<(), Offence>) {
    let Terms { inspect, to_backend, to_client, .. } = &*session.terms;
    let limits = if direction == Direction::ToBackend { to_backend } else { to_client };
    let mut weave = Weave::new(leg.scanner.clone(), *inspect == Inspect::Strict);
    if !leg.scanner.is_blind() {
        if let Some(limits) = limits {
            weave.limit(*limits);
        }
        if recorder.is_some() {
            weave.tell_headers();
        }
    }
    Flow::new(weave, &leg.early, &mut Tap::new(session, direction).recording(recorder))
}
