//! STUB
use crate::desk::*;
use crate::gate::*;
use crate::policy::mode::*;
use crate::policy::routes::RouteTable;
use crate::upstream::UpstreamUrl;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct StartError;
pub struct ControlSettings {
    pub state_dir: PathBuf,
    pub upstream: UpstreamUrl,
    pub base_path: String,
    pub credentials: Option<String>,
    pub initial_mode: Option<Mode>,
    pub drain_timeout: Duration,
    pub orphan_grace: Duration,
    pub upstream_mode: bool,
    pub upstream_poll: Duration,
    pub schema_probe: Option<String>,
    pub schema_probe_interval: Duration,
    pub table_text: String,
    pub load_table: Box<dyn Fn() -> Result<(RouteTable, String), String>>,
}
pub struct Control {
    gate: Arc<Gate>,
    inbox: DeskInbox,
}
pub async fn start(gate: Arc<Gate>, inbox: DeskInbox, s: ControlSettings) -> Result<Control, StartError> {
    std::fs::create_dir_all(&s.state_dir).unwrap();
    let c = Control { gate, inbox };
    c.publish(s.initial_mode.unwrap_or(Mode::Production), 1);
    Ok(c)
}
impl Control {
    fn publish(&self, mode: Mode, revision: u64) -> Arc<ModeRecord> {
        let r = Arc::new(ModeRecord {
            format: 1,
            revision,
            mode,
            phase: Phase::Settled,
            from: None,
            deadline: None,
            since: jiff::Timestamp::now(),
            actor: Actor { kind: ActorKind::Automatic, name: "x".into() },
            reason: None,
            cause: None,
            expires: None,
            drained: Some(true),
            drain_timeout_ms: None,
            on_timeout: None,
            force: false,
            journal_head: None,
        });
        self.gate.publish(Published { record: Some(r.clone()), schema: SchemaKnowledge::Unknown, alarm: None });
        r
    }
    pub fn journal_reader(&self) -> Arc<crate::admin::JournalReader> {
        Arc::new(|_| Vec::new())
    }
    pub async fn run(mut self, _stop: impl Future<Output = ()>) {
        let mut rev = 1;
        while let Some(ask) = self.inbox.asks.recv().await {
            match ask {
                Ask::SetMode(c, tx) => {
                    rev += 1;
                    let r = self.publish(c.mode, rev);
                    let _ = tx.send(Ok(Flipped { record: r, report: FlipReport::default() }));
                }
                Ask::Reload(tx) => {
                    let _ = tx.send(Err(ReloadError::Busy));
                }
            }
        }
    }
}
