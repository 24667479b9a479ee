//! Questions to DNS (RFC 1035, 2782, 3596), through hickory-resolver. Nothing is cached here: who asks knows the time to
//! live of what it got, and asks again when it is over.

mod runtime;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::time::timeout;

pub use hickory_resolver::proto::rr::Name;

use self::runtime::Current;
use crate::telemetry::labels::DiscoveryFault;

/// Asks always the same servers.
pub struct Resolver {
    resolver: hickory_resolver::Resolver<Current>,
    timeout: Duration,
}

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// At least one.
    pub records: Vec<T>,
    /// How long all of them hold.
    pub ttl: Duration,
}

/// One of the services of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The lowest comes first.
    pub priority: u16,
    /// The share among those of one priority; 0 is for the least there is.
    pub weight: u16,
    /// Not 0.
    pub port: u16,
    /// Whose addresses it has.
    pub target: Name,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its name.
    pub reason: DiscoveryFault,
    /// What there is to know beyond it; for the log.
    pub detail: String,
}

/// One of the two kinds of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

/// The whole name that `text` is; `None` for what no name can be.
pub fn name(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    // Whole: no search domain is added.
    name.set_fqdn(true);
    Some(name)
}

impl Resolver {
    /// Asks `servers`, or those of `/etc/resolv.conf` as it is now if there are none; each question for `timeout` at most.
    ///
    /// # Errors
    /// [`DiscoveryFault::Unreadable`] when the system does not say whom to ask.
    pub fn new(servers: &[SocketAddr], timeout: Duration) -> Result<Resolver, Fault> {
        let unusable = |error: NetError| Fault {
            reason: DiscoveryFault::Unreadable,
            detail: format!("cannot read /etc/resolv.conf: {error}"),
        };
        let mut builder = if servers.is_empty() {
            hickory_resolver::Resolver::builder(Current::default()).map_err(unusable)?
        } else {
            let servers = servers.iter().copied().map(server).collect();
            let config = ResolverConfig::from_name_servers(servers);
            hickory_resolver::Resolver::builder_with_config(config, Current::default())
        };
        let options = builder.options_mut();
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        // Room for a second try in all, within which packets are repeated.
        options.timeout = timeout / 2;
        options.attempts = 1;
        Ok(Resolver { resolver: builder.build().map_err(unusable)?, timeout })
    }

    /// The addresses of `name`.
    ///
    /// # Errors
    /// Every way not to get any.
    pub async fn addresses(&self, name: &Name, family: Family) -> Result<Answer<IpAddr>, Fault> {
        let kind = match family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        };
        self.ask(name, kind, |record| match &record.data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0).to_canonical()),
            _ => None,
        })
        .await
    }

    /// The services of `name`.
    ///
    /// # Errors
    /// Every way not to get any.
    pub async fn services(&self, name: &Name) -> Result<Answer<Service>, Fault> {
        self.ask(name, RecordType::SRV, |record| match &record.data {
            RData::SRV(srv) if srv.port != 0 => Some(Service {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: srv.target.clone(),
            }),
            _ => None,
        })
        .await
    }

    async fn ask<T>(
        &self,
        name: &Name,
        kind: RecordType,
        wanted: impl Fn(&Record) -> Option<T>,
    ) -> Result<Answer<T>, Fault> {
        let asked = timeout(self.timeout, self.resolver.lookup(name.clone(), kind)).await;
        let lookup = asked.unwrap_or(Err(NetError::Timeout)).map_err(fault)?;
        let answers = lookup.answers();
        // Aliases on the way (CNAME) hold no longer than they say, too.
        let seconds = answers.iter().map(|record| record.ttl).min().unwrap_or(0);
        let records: Vec<T> = answers.iter().filter_map(wanted).collect();
        if records.is_empty() {
            return Err(Fault { reason: DiscoveryFault::Empty, detail: "no such records".into() });
        }
        Ok(Answer { records, ttl: Duration::from_secs(seconds.into()) })
    }
}

fn server(address: SocketAddr) -> NameServerConfig {
    let [mut udp, mut tcp] = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    (udp.port, tcp.port) = (address.port(), address.port());
    NameServerConfig::new(address.ip(), true, vec![udp, tcp])
}

fn fault(error: NetError) -> Fault {
    let reason = match &error {
        NetError::Timeout => DiscoveryFault::Timeout,
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => DiscoveryFault::NoSuchName,
            _ => DiscoveryFault::Empty,
        },
        NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail)) => DiscoveryFault::ServerFailure,
        NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => DiscoveryFault::Refused,
        NetError::Io(_) | NetError::NoConnections => DiscoveryFault::Unreachable,
        NetError::Proto(_) | NetError::Truncated | NetError::ForeignClassRecord { .. } => {
            DiscoveryFault::Malformed
        }
        _ => DiscoveryFault::Other,
    };
    Fault { reason, detail: error.to_string() }
}
