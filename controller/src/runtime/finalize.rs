//! What to do with an object, from whether it carries our finalizer and whether it is being deleted.
//!
//! A table of four cases, so that no reconciler writes it as nested conditions. It does nothing
//! itself: the caller adds the finalizer before it creates anything outside, and removes it only when
//! nothing outside is left.

/// What to do with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finalize {
    /// Add the finalizer and store it, before anything is created that would need a clean-up.
    AddFinalizer,
    /// The usual reconcile.
    Reconcile,
    /// Remove what was created outside, then the finalizer; the object goes with it.
    CleanUp,
    /// It is being deleted and nothing of ours is left: do nothing.
    Gone,
}

/// The decision. Deletion is one-way: once `CleanUp` was returned, `Reconcile` is not for that object.
pub fn finalize(has_finalizer: bool, is_deleting: bool) -> Finalize {
    match (has_finalizer, is_deleting) {
        (false, false) => Finalize::AddFinalizer,
        (true, false) => Finalize::Reconcile,
        (true, true) => Finalize::CleanUp,
        (false, true) => Finalize::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_its_own_answer() {
        let table = [
            ((false, false), Finalize::AddFinalizer),
            ((true, false), Finalize::Reconcile),
            ((true, true), Finalize::CleanUp),
            ((false, true), Finalize::Gone),
        ];
        for ((has_finalizer, is_deleting), expected) in table {
            assert_eq!(finalize(has_finalizer, is_deleting), expected, "finalizer {has_finalizer}, deleting {is_deleting}");
        }
    }
}
