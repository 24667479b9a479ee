//! The addresses of a name (A and AAAA), all with one port and one weight.

use super::backend;
use super::host::{Host, Looked};
use crate::config;
use crate::net::dns::{Name, Resolver};

/// What is asked for, and what was found last.
pub struct Addresses {
    name: Name,
    port: u16,
    host: Host,
}

impl Addresses {
    /// Nothing is known yet.
    pub fn new(name: Name, port: u16) -> Addresses {
        Addresses { name, port, host: Host::default() }
    }

    /// Asks for them.
    pub async fn look(&mut self, resolver: &Resolver) -> Looked {
        self.host.look(resolver, &self.name).await
    }

    /// The backends that were found last.
    pub fn backends(&self) -> Vec<config::Backend> {
        self.host.addresses().map(|address| backend(address, self.port, 1)).collect()
    }
}
