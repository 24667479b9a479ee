//! The addresses of one name, of both families, as they were found last.
//!
//! The families are asked apart: a fault of one must not make the other's addresses the whole answer. A family that has no
//! records any more is gone, if the other one has some; a name without any keeps what it had.

use std::net::IpAddr;
use std::time::Duration;

use crate::net::dns::{Answer, Family, Fault, Name, Resolver};
use crate::telemetry::labels::DiscoveryFault;

/// What is known of a name.
#[derive(Debug, Default)]
pub struct Host {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
}

/// What came of a look.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// How long the answer holds; `None` when there was none.
    pub ttl: Option<Duration>,
    /// What went wrong, in whole or in part.
    pub faults: Vec<Fault>,
}

impl Host {
    /// Asks for the addresses of `name`.
    pub async fn look(&mut self, resolver: &Resolver, name: &Name) -> Looked {
        let (v4, v6) =
            tokio::join!(resolver.addresses(name, Family::V4), resolver.addresses(name, Family::V6));
        self.take_in(v4, v6)
    }

    /// All addresses as they were found last, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.iter().chain(&self.v6).copied()
    }

    fn take_in(&mut self, v4: Result<Answer<IpAddr>, Fault>, v6: Result<Answer<IpAddr>, Fault>) -> Looked {
        let ttl = [&v4, &v6].into_iter().flatten().map(|answer| answer.ttl).min();
        let mut faults = Vec::new();
        for (known, found) in [(&mut self.v4, v4), (&mut self.v6, v6)] {
            match found {
                Ok(answer) => {
                    // Nobody can be reached at "any address".
                    *known = answer.records.into_iter().filter(|address| !address.is_unspecified()).collect();
                    known.sort_unstable();
                    known.dedup();
                }
                Err(none) if is_nothing(&none) && ttl.is_some() => known.clear(),
                Err(fault) => faults.push(fault),
            }
        }
        // Both families say the same of a name that has nothing.
        faults.dedup_by_key(|fault| fault.reason);
        Looked { ttl, faults }
    }
}

/// Whether the server knows that there is nothing; all other faults say nothing.
fn is_nothing(fault: &Fault) -> bool {
    matches!(fault.reason, DiscoveryFault::Empty | DiscoveryFault::NoSuchName)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(addresses: &[&str], seconds: u64) -> Result<Answer<IpAddr>, Fault> {
        let records = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Ok(Answer { records, ttl: Duration::from_secs(seconds) })
    }

    fn fault(reason: DiscoveryFault) -> Result<Answer<IpAddr>, Fault> {
        Err(Fault { reason, detail: String::new() })
    }

    /// What a look leaves: the addresses, the seconds for which they hold, and the faults.
    fn after(
        host: &mut Host,
        v4: Result<Answer<IpAddr>, Fault>,
        v6: Result<Answer<IpAddr>, Fault>,
    ) -> (String, Option<u64>, Vec<DiscoveryFault>) {
        let looked = host.take_in(v4, v6);
        let addresses: Vec<String> = host.addresses().map(|address| address.to_string()).collect();
        let faults = looked.faults.iter().map(|fault| fault.reason).collect();
        (addresses.join(" "), looked.ttl.map(|ttl| ttl.as_secs()), faults)
    }

    #[test]
    fn both_families_are_taken_in_order_and_hold_as_long_as_both_do() {
        let mut host = Host::default();
        let v4 = answer(&["10.0.0.2", "10.0.0.1", "10.0.0.2", "0.0.0.0"], 30);
        let found = after(&mut host, v4, answer(&["fd00::2", "::"], 5));
        assert_eq!(found, ("10.0.0.1 10.0.0.2 fd00::2".to_owned(), Some(5), vec![]));
    }

    #[test]
    fn a_fault_keeps_what_its_family_had() {
        use DiscoveryFault::{Empty, NoSuchName, ServerFailure, Timeout};
        let mut host = Host::default();
        after(&mut host, answer(&["10.0.0.1"], 9), answer(&["fd00::1"], 9));
        let all = || "10.0.0.1 fd00::1".to_owned();
        assert_eq!(
            after(&mut host, fault(Timeout), fault(ServerFailure)),
            (all(), None, vec![Timeout, ServerFailure])
        );
        for reason in [Empty, NoSuchName] {
            assert_eq!(after(&mut host, fault(reason), fault(reason)), (all(), None, vec![reason]));
        }
        let found = after(&mut host, answer(&["10.0.0.2"], 3), fault(Timeout));
        assert_eq!(found, ("10.0.0.2 fd00::1".to_owned(), Some(3), vec![Timeout]));
        // A name that has lost one of its families.
        let found = after(&mut host, answer(&["10.0.0.2"], 3), fault(Empty));
        assert_eq!(found, ("10.0.0.2".to_owned(), Some(3), vec![]));
        assert_eq!(after(&mut host, fault(Empty), fault(Timeout)).0, "10.0.0.2");
    }
}
