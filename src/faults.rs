//! Faults that tests inject into parts of the gateway, in a build with `--cfg ucs_gateway_faults` alone. The shipped binary
//! contains none: without this cfg the functions do nothing.

/// A part that can have a fault.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(ucs_gateway_faults), allow(dead_code, reason = "only an injected fault reads which part it is"))]
pub(crate) enum Part {
    Control,
    Admin,
    Worker(usize),
    /// The sweep of a worker.
    Sweep(usize),
    /// The writing thread of a stream.
    Log(&'static str),
}

/// Does the work of a part; an injected fault replaces it, and `end` is what a part returns that ends unasked.
#[cfg(not(ucs_gateway_faults))]
pub(crate) async fn with<T>(_part: Part, _end: T, work: impl Future<Output = T>) -> T {
    work.await
}

/// Whether the thread of a part is to end now.
#[cfg(not(ucs_gateway_faults))]
pub(crate) fn ends(_part: Part) -> bool {
    false
}

#[cfg(ucs_gateway_faults)]
pub(crate) use injected::{ends, with};

/// `UCS_GATEWAY_FAULT="PART KIND FILE"`: this part has this fault as soon as the file exists.
#[cfg(ucs_gateway_faults)]
mod injected {
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::time::Duration;

    use super::Part;

    struct Fault {
        part: String,
        kind: String,
        file: PathBuf,
    }

    pub(crate) async fn with<T>(part: Part, end: T, work: impl Future<Output = T>) -> T {
        let Some(fault) = fault_of(part) else { return work.await };
        let mut work = std::pin::pin!(work);
        tokio::select! {
            biased;
            () = fault.comes() => {}
            done = work.as_mut() => return done,
        }
        match &*fault.kind {
            "panics" => panic!("an injected fault"),
            "ends" => end,
            // Its connections stay open, and no code of it runs.
            "stalls" => std::future::pending().await,
            "blocks" => loop {
                std::thread::park();
            },
            other => panic!("there is no fault {other}"),
        }
    }

    pub(crate) fn ends(part: Part) -> bool {
        let is_due = fault_of(part).filter(|fault| fault.file.exists());
        is_due.is_some_and(|fault| if fault.kind == "panics" { panic!("an injected fault") } else { true })
    }

    impl Fault {
        fn read() -> Option<Fault> {
            let text = std::env::var("UCS_GATEWAY_FAULT").ok()?;
            let [part, kind, file] = *text.splitn(3, ' ').collect::<Vec<_>>() else { panic!("write PART KIND FILE") };
            Some(Fault { part: part.to_owned(), kind: kind.to_owned(), file: file.into() })
        }

        async fn comes(&self) {
            while !self.file.exists() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }

    fn fault_of(part: Part) -> Option<&'static Fault> {
        static FAULT: OnceLock<Option<Fault>> = OnceLock::new();
        let name = match part {
            Part::Control => "control".to_owned(),
            Part::Admin => "admin".to_owned(),
            Part::Worker(index) => format!("worker-{index}"),
            Part::Sweep(index) => format!("sweep-{index}"),
            Part::Log(stream) => format!("log-{stream}"),
        };
        FAULT.get_or_init(Fault::read).as_ref().filter(|fault| fault.part == name)
    }
}
