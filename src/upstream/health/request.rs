//! What the requests of probes have in common.

use http::{HeaderValue, Method, Request, StatusCode, header};

use super::Unwell;
use crate::config::{BackendAddress, ProbeTarget};
use crate::upstream::backend::Backend;

/// A request for `target`: for the backend's own address, unless the operator names another host. `None` if the target
/// is none.
pub fn begin(backend: &Backend, target: &ProbeTarget, method: Method) -> Option<Request<()>> {
    let host = match backend.address {
        BackendAddress::Tcp { .. } => &*backend.label,
        BackendAddress::Unix(_) => "localhost",
    };
    let request = Request::builder().method(method).uri(&*target.path);
    let mut request = request.header(header::HOST, host).body(()).ok()?;
    let name = HeaderValue::from_static(concat!("longhaul/", env!("CARGO_PKG_VERSION")));
    let headers = request.headers_mut();
    headers.insert(header::USER_AGENT, name);
    for (name, value) in &target.headers {
        headers.insert(name, value.clone());
    }
    Some(request)
}

/// An answer has a status that it should not have.
pub fn status(status: StatusCode) -> Unwell {
    Unwell { detail: Some(status.as_u16().to_string()), ..Unwell::from("status") }
}
