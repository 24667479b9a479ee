//! TLS: loads what the `tls` tables of listeners and pools name, and keeps each connector of a pool, with its sessions,
//! that would come out the same.

use std::cell::OnceCell;

use super::{load, load_pair};
use crate::config::{At, ClientCertificates, Place, Pool, PoolTls, Problems, Tls, Trust};
use crate::net::tls;
use crate::net::tls::authorities::Authorities;
use crate::net::tls::certificate::CertificateError;
use crate::net::tls::clients::{Clients, Revoked};
use crate::net::tls::connect::{self, Connector, Settings};
use crate::net::tls::secrets::Secrets;

/// What a listener's `tls` table amounts to. `None` when something cannot be used, which is added to `problems`.
pub fn terminator(words: &Tls, problems: &mut Problems) -> Option<tls::Settings> {
    let certificates = load(&words.certificates, problems);
    let clients = match &words.client_certificates {
        Some(words) => clients(words, problems).map(Some),
        None => Some(None),
    };
    let ticket_keys = match &words.ticket_keys {
        Some(path) => used(Secrets::load(&path.value), &path.place, problems).map(Some),
        None => Some(None),
    };
    Some(tls::Settings {
        certificates: certificates?,
        unknown_name: words.unknown_name,
        clients: clients?,
        min_version: words.min_version,
        http2: words.http2,
        ciphers: words.ciphers.clone(),
        ticket_keys: ticket_keys?,
    })
}

fn clients(words: &ClientCertificates, problems: &mut Problems) -> Option<Clients> {
    let authorities = used(Authorities::load(&words.ca.value), &words.ca.place, problems);
    let revoked = match &words.crl {
        Some(pem) => used(Revoked::load(&pem.value), &pem.place, problems),
        None => Some(Revoked::default()),
    };
    let place = words.crl.as_ref().map_or(&words.ca.place, |pem| &pem.place);
    used(Clients::new(&authorities?, words.mode, revoked?), place, problems)
}

/// What came of loading, or a problem at its place.
pub(super) fn used<T>(
    loaded: Result<T, CertificateError>,
    place: &Place,
    problems: &mut Problems,
) -> Option<T> {
    match loaded {
        Ok(value) => Some(value),
        Err(error) => {
            problems.push(place.clone(), error.message, error.remedy);
            None
        }
    }
}

/// Makes the connectors of one generation.
#[derive(Default)]
pub struct Connectors {
    /// Read when a pool needs them, and then once for all pools.
    system: OnceCell<Result<Authorities, CertificateError>>,
}

impl Connectors {
    /// The connector of `pool`, if it has one: `previous`, if that would do the same. `None` when something cannot be
    /// used, which is added to `problems`.
    pub fn of(
        &self,
        pool: &Pool,
        previous: Option<&Connector>,
        problems: &mut Problems,
    ) -> Option<Option<Connector>> {
        let Some(At { value: words, place }) = &pool.tls else { return Some(None) };
        let settings = self.settings(words, pool.backends_max(), place, problems)?;
        if let Some(previous) = previous.filter(|previous| *previous.settings() == settings) {
            return Some(Some(previous.clone()));
        }
        match Connector::new(settings) {
            Ok(connector) => Some(Some(connector)),
            Err(error) => {
                let remedy = "this machine's cryptography cannot speak TLS";
                problems.push(place.clone(), format!("cannot set up TLS: {error}"), remedy);
                None
            }
        }
    }

    fn settings(
        &self,
        words: &PoolTls,
        backends: usize,
        place: &Place,
        problems: &mut Problems,
    ) -> Option<Settings> {
        let authorities = match &words.trust {
            Trust::Anyone => Some(None),
            Trust::Authorities(pem) => used(Authorities::load(&pem.value), &pem.place, problems).map(Some),
            Trust::System => match self.system.get_or_init(Authorities::of_system) {
                Ok(authorities) => Some(Some(authorities.clone())),
                Err(error) => {
                    problems.push(place.clone(), &*error.message, &*error.remedy);
                    None
                }
            },
        };
        let certificate = match &words.certificate {
            Some(pair) => load_pair(pair, problems).map(Some),
            None => Some(None),
        };
        let server_name = match words.server_name.as_deref().map(connect::server_name).transpose() {
            Ok(server_name) => server_name,
            Err(error) => {
                problems.push(
                    place.clone(),
                    format!("TLS does not know such a name: {error}"),
                    "write another",
                );
                return None;
            }
        };
        Some(Settings {
            authorities: authorities?,
            certificate: certificate?,
            session_names_max: Settings::session_names_max(server_name.as_ref(), backends),
            server_name,
            min_version: words.min_version,
        })
    }
}
