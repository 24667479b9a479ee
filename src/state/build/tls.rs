//! TLS of pools: loads what their `tls` tables name, and keeps each connector, with its sessions, that would come out the
//! same.

use std::cell::OnceCell;

use super::load_pair;
use crate::config::{At, Place, Pool, PoolTls, Problems, Trust};
use crate::net::tls::authorities::Authorities;
use crate::net::tls::certificate::CertificateError;
use crate::net::tls::connect::{self, Connector, Settings};

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
        let settings = self.settings(words, pool.backends.len(), place, problems)?;
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
            Trust::Authorities(pem) => match Authorities::load(&pem.value) {
                Ok(authorities) => Some(Some(authorities)),
                Err(error) => {
                    problems.push(pem.place.clone(), error.message, error.remedy);
                    None
                }
            },
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
