//! What a request must pass before a backend hears of it, and what is changed of it and of its answer.

pub mod header;
pub mod origin;
pub mod redirect;
pub mod variables;
