//! What a pool asks for and can never have: no error, since it harms nobody, but hardly what was meant.

use std::net::IpAddr;

use crate::config::reader::Reader;
use crate::config::{Backend, BackendAddress, Place, State};

/// Where a pool asks for it.
pub struct Asked {
    pub retry: Option<Place>,
    pub ejection: Option<Place>,
    pub rebalance: Option<Place>,
    pub source_addresses: Option<Place>,
}

/// Warns of it. `backends` are all that there will ever be.
pub fn warn_of_futile(backends: &[Backend], sources: &[IpAddr], asked: &Asked, reader: &mut Reader) {
    if let [_] = backends {
        let remedy = "remove it, or add another backend";
        if let Some(place) = &asked.retry {
            reader.warn(place, "a pool of one backend has no retries: none is asked twice", remedy);
        }
        if let Some(place) = &asked.ejection {
            reader.warn(
                place,
                "a pool of one backend has no ejections: the last one is never ejected",
                remedy,
            );
        }
        if let Some(place) = &asked.rebalance {
            reader.warn(place, "a pool of one backend has nothing to rebalance", remedy);
        }
    }
    if let Some(first) = backends.first()
        && backends.iter().all(|backend| backend.state == State::Disabled)
    {
        let message = "all backends of this pool are disabled: it serves nobody";
        reader.warn(&first.address.place, message, "remove `state` from those that are to serve");
    }
    if let Some(place) = &asked.source_addresses
        && !sources.is_empty()
        && !backends.iter().any(|backend| may_come_from(&backend.address.value, sources))
    {
        let message = "no backend of this pool is reached from these addresses: they are of another family";
        reader.warn(place, message, "write addresses of the family of its backends, or remove them");
    }
}

fn may_come_from(backend: &BackendAddress, sources: &[IpAddr]) -> bool {
    match backend {
        // A name may have addresses of both families.
        BackendAddress::Tcp { host, .. } => host
            .parse()
            .map_or(true, |ip: IpAddr| sources.iter().any(|source| source.is_ipv4() == ip.is_ipv4())),
        BackendAddress::Unix(_) => false,
    }
}
