//! Asks DNS again and again, for as long as what it says holds.

use tokio::time::sleep;

use super::dns::Addresses;
use super::host::Looked;
use super::srv::Services;
use super::{Errand, pace};
use crate::config;
use crate::config::discovery::{Lookup, Source};
use crate::net::dns::{self, Fault, Resolver};
use crate::telemetry::labels::DiscoveryFault;

/// What DNS is asked for.
enum Question {
    Addresses(Addresses),
    Services(Services),
}

/// Asks what `source` wants to know until it is dropped.
pub async fn run(mut errand: Errand, source: &Source) {
    let (name, lookup) = match source {
        Source::Dns { name, lookup, .. } | Source::Srv { name, lookup } => (dns::name(name), lookup),
        Source::File { .. } => return,
    };
    let Some(name) = name else {
        let detail = "no such name can be".to_owned();
        return errand.miss(&Fault { reason: DiscoveryFault::Malformed, detail });
    };
    let question = match source {
        Source::Dns { port, .. } => Question::Addresses(Addresses::new(name, *port)),
        _ => Question::Services(Services::new(name, errand.words.backends_max())),
    };
    ask(errand, question, lookup).await;
}

async fn ask(mut errand: Errand, mut question: Question, lookup: &Lookup) {
    let mut resolver = None;
    let mut faults = 0;
    loop {
        let asked = resolver.take().map_or_else(|| Resolver::new(&lookup.resolvers, lookup.timeout), Ok);
        let looked = match &asked {
            Ok(resolver) => question.look(resolver).await,
            Err(fault) => Looked { ttl: None, faults: vec![fault.clone()] },
        };
        looked.faults.iter().for_each(|fault| errand.miss(fault));
        if looked.ttl.is_some() {
            errand.tell(question.backends()).await;
        }
        errand.has_looked();
        if looked.faults.is_empty() {
            resolver = asked.ok();
            faults = 0;
        } else {
            // Who does not answer may have been replaced in /etc/resolv.conf, which is then read again.
            faults += 1;
        }
        let rests = [
            looked.ttl.map(|ttl| pace::after_answer(ttl, lookup, fastrand::f64())),
            (faults > 0).then(|| pace::after_faults(faults, lookup, fastrand::f64())),
        ];
        sleep(rests.into_iter().flatten().min().unwrap_or(lookup.ttl_max)).await;
    }
}

impl Question {
    async fn look(&mut self, resolver: &Resolver) -> Looked {
        match self {
            Question::Addresses(addresses) => addresses.look(resolver).await,
            Question::Services(services) => services.look(resolver).await,
        }
    }

    fn backends(&self) -> Vec<config::Backend> {
        match self {
            Question::Addresses(addresses) => addresses.backends(),
            Question::Services(services) => services.backends(),
        }
    }
}
