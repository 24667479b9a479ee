//! Which members of a pool one request has tried.

use crate::config::ATTEMPTS_MAX;

/// Backends that one request tries, at most. Most of them only if their connections fail at once.
pub const TRIES_MAX: usize = 8;
/// Having tried so many, a request is given nobody who is ejected or out of reach.
pub const LAST_RESORTS_MAX: usize = ATTEMPTS_MAX;

/// Which members of a pool a request has tried, at most [`TRIES_MAX`].
#[derive(Debug)]
pub struct Tried {
    places: [u32; TRIES_MAX],
    count: usize,
}

impl Default for Tried {
    #[inline]
    fn default() -> Tried {
        Tried { places: [0; TRIES_MAX], count: 0 }
    }
}

impl Tried {
    /// Whether this one was tried.
    #[inline]
    pub fn contains(&self, place: usize) -> bool {
        self.count > 0 && self.holds(place)
    }

    /// Apart: a first choice, which nearly every one is, is asked of nobody.
    #[cold]
    #[inline(never)]
    fn holds(&self, place: usize) -> bool {
        self.places.iter().take(self.count).any(|tried| *tried as usize == place)
    }

    /// Whether none was tried.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many were tried.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether there is no room for one more.
    pub fn is_full(&self) -> bool {
        self.count == TRIES_MAX
    }

    /// One was tried that is none of these members.
    pub fn add_stranger(&mut self) {
        self.add(u32::MAX as usize);
    }

    /// `None` when there is no room for one more.
    #[inline]
    pub fn add(&mut self, place: usize) -> Option<()> {
        *self.places.get_mut(self.count)? = u32::try_from(place).ok()?;
        self.count += 1;
        Some(())
    }
}
