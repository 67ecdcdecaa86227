//! Limits of requests in flight, by class, so that a flood of one class leaves room for the others. Classes without a limit
//! cost nothing. It is independent of the mode: a full class is refused as `overload`, never as `mode`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The limit of one class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassLimit {
    /// The name of the class in the route table.
    pub(crate) class: String,
    /// The most requests in flight, over all workers; at least 1.
    pub(crate) most: usize,
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

/// The limits of all classes that have one, shared by the workers.
#[derive(Debug)]
pub struct ClassLimits(Box<[Arc<ClassCounter>]>);

#[derive(Debug)]
struct ClassCounter {
    limit: ClassLimit,
    taken: AtomicUsize,
}

/// Counts a request of its class in flight, until it is dropped.
#[derive(Debug)]
pub(crate) struct ClassPermit(Arc<ClassCounter>);

/// The class has reached its limit.
#[derive(Debug, thiserror::Error)]
#[error("class {class} has reached its limit of requests in flight (--max-in-flight: {most})")]
pub(crate) struct ClassFull {
    class: String,
    most: usize,
}

impl ClassLimits {
    /// Creates the limits; the last one counts for a class that is named twice.
    pub fn new(limits: &[ClassLimit]) -> ClassLimits {
        let counter = |limit: &ClassLimit| Arc::new(ClassCounter { limit: limit.clone(), taken: AtomicUsize::new(0) });
        ClassLimits(limits.iter().rev().map(counter).collect())
    }

    /// The position of a class's limit; `None` if it has none.
    pub(crate) fn position(&self, class: &str) -> Option<usize> {
        self.0.iter().position(|counter| counter.limit.class == class)
    }

    /// Takes a permit of the class at this [`position`](Self::position).
    pub(crate) fn enter(&self, position: usize) -> Result<ClassPermit, ClassFull> {
        let counter = &self.0[position];
        let most = counter.limit.most;
        // The counter orders no other memory, so relaxed is enough.
        let more = |taken: usize| (taken < most).then_some(taken + 1);
        match counter.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(ClassPermit(Arc::clone(counter))),
            Err(_) => Err(ClassFull { class: counter.limit.class.clone(), most }),
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
    fn a_full_class_has_room_again_when_a_permit_is_dropped() {
        let limits = ["profile=2", "schema=1", "profile=1"].map(|text| text.parse().unwrap());
        let class_limits = ClassLimits::new(&limits);
        let profile = class_limits.position("profile").unwrap();
        let permit = class_limits.enter(profile).unwrap();
        assert!(class_limits.enter(profile).unwrap_err().to_string().contains("class profile"));
        assert!(class_limits.enter(class_limits.position("schema").unwrap()).is_ok(), "another class has its own room");
        assert_eq!(class_limits.position("service"), None);
        drop(permit);
        assert!(class_limits.enter(profile).is_ok());
    }

    #[test]
    fn an_invalid_limit_is_rejected() {
        for text in ["", "profile", "profile=", "profile=0", "profile=-1", "=3", "profile=many"] {
            assert!(text.parse::<ClassLimit>().is_err(), "{text}");
        }
    }
}
