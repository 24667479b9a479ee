//! What a request must pass before a backend hears of it, and what variables stand for.

pub mod origin;
pub mod redirect;
pub mod variables;
