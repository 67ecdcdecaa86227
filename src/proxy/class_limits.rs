//! Room for each class: how many of its requests may be in flight at once, so that a flood of one class leaves room for
//! the others. Classes without a limit cost nothing. It knows nothing of modes: a full class gets `overload`, never `mode`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the operator allows a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassLimit {
    /// The class's name in the table of routes.
    pub class: String,
    /// Its requests in flight at the most, over all workers; at least 1.
    pub most: usize,
}

impl std::str::FromStr for ClassLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<ClassLimit, String> {
        let parts = text.split_once('=').map(|(class, most)| (class.trim(), most.trim().parse()));
        match parts {
            Some((class, Ok(most @ 1..))) if !class.is_empty() => Ok(ClassLimit { class: class.to_owned(), most }),
            _ => Err("write CLASS=N with N of at least 1, as in profile=200".to_owned()),
        }
    }
}

/// The limits of all classes that have one. Shared by the workers.
#[derive(Debug)]
pub struct ClassLimits(Box<[Arc<ClassCounter>]>);

#[derive(Debug)]
struct ClassCounter {
    limit: ClassLimit,
    taken: AtomicUsize,
}

/// A request's place in its class. Dropping it makes room.
#[derive(Debug)]
pub struct ClassPermit(Arc<ClassCounter>);

/// Why there is no place.
#[derive(Debug, thiserror::Error)]
#[error("as many requests of class {class} are in flight as --max-in-flight allows ({most})")]
pub struct ClassFull {
    class: String,
    most: usize,
}

impl ClassLimits {
    /// Of these limits; the last one counts for a class that is named twice.
    pub fn new(limits: &[ClassLimit]) -> ClassLimits {
        let position = |limit: &ClassLimit| Arc::new(ClassCounter { limit: limit.clone(), taken: AtomicUsize::new(0) });
        ClassLimits(limits.iter().rev().map(position).collect())
    }

    /// Where the class has its limit; `None` when it has none.
    pub fn position(&self, class: &str) -> Option<usize> {
        self.0.iter().position(|position| position.limit.class == class)
    }

    /// Takes a place at a [`position`](Self::position).
    pub fn enter(&self, position: usize) -> Result<ClassPermit, ClassFull> {
        let position = &self.0[position];
        let most = position.limit.most;
        // The count orders nothing else, so that relaxed is enough.
        let more = |taken: usize| (taken < most).then_some(taken + 1);
        match position.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(ClassPermit(Arc::clone(position))),
            Err(_) => Err(ClassFull { class: position.limit.class.clone(), most }),
        }
    }
}

impl Drop for ClassPermit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_full_class_has_room_again_when_a_place_is_left() {
        let limits = ["profile=2", "schema=1", "profile=1"].map(|text| text.parse().unwrap());
        let class_limits = ClassLimits::new(&limits);
        let profile = class_limits.position("profile").unwrap();
        let place = class_limits.enter(profile).unwrap();
        assert!(class_limits.enter(profile).unwrap_err().to_string().contains("class profile"));
        assert!(class_limits.enter(class_limits.position("schema").unwrap()).is_ok(), "another class has its own room");
        assert_eq!(class_limits.position("service"), None);
        drop(place);
        assert!(class_limits.enter(profile).is_ok());
    }

    #[test]
    fn what_is_no_limit_is_told() {
        for text in ["", "profile", "profile=", "profile=0", "profile=-1", "=3", "profile=many"] {
            assert!(text.parse::<ClassLimit>().is_err(), "{text}");
        }
    }
}
