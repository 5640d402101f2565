//! What follows from the configuration, and changes with it while the process runs.

use crate::config::live::Live;
use crate::config::{BadConfig, Config};
use crate::delivery::routing::Routes;
use crate::intake::admission::Admitter;
use crate::messages::Templates;
use crate::outbox::webhook::Webhooks;
use crate::seal::Keys;

/// All of it, made from one configuration: it is good as a whole, or not at all.
pub struct Rules {
    keys: Keys,
    admitter: Admitter,
    routes: Routes,
    webhooks: Webhooks,
}

impl Rules {
    /// The rules of a configuration, with these keys.
    pub fn new(config: &Config, keys: Keys) -> Result<Self, BadConfig> {
        Self::after(None, config, keys)
    }

    /// The same, where others were in force: what carriers are owed of pace and slots goes on.
    fn after(before: Option<&Routes>, config: &Config, keys: Keys) -> Result<Self, BadConfig> {
        let templates = Templates::load(config.messages.templates_dir.as_deref()).map_err(BadConfig)?;
        Ok(Self {
            admitter: Admitter::new(keys.clone(), config.clone(), templates),
            routes: Routes::new(config, before)?,
            webhooks: Webhooks::new(config)?,
            keys,
        })
    }
}

/// The rules of a running process.
pub(super) struct InForce {
    pub(super) keys: Live<Keys>,
    pub(super) admitter: Live<Admitter>,
    pub(super) routes: Live<Routes>,
    pub(super) webhooks: Live<Webhooks>,
    /// What the process was started with: some of it holds until its end.
    started_with: Config,
}

impl InForce {
    pub(super) fn new(rules: Rules, started_with: Config) -> Self {
        Self {
            keys: Live::new(rules.keys),
            admitter: Live::new(rules.admitter),
            routes: Live::new(rules.routes),
            webhooks: Live::new(rules.webhooks),
            started_with,
        }
    }

    /// Puts another configuration in force, or changes nothing. Answers which keys of it hold at the next start only.
    pub(super) fn replace(&self, mut config: Config) -> Result<Vec<&'static str>, BadConfig> {
        let keys = config.keys()?;
        if !keys.has_hashes_of(&self.keys.now()) {
            return Err(BadConfig(
                "keys.hash_root would change, and every quota be forgotten: put the root that was first used there"
                    .to_owned(),
            ));
        }
        let later = config.differs_until_start(&self.started_with);
        config.worker.slots = self.started_with.worker.slots;
        let rules = Rules::after(Some(&self.routes.now()), &config, keys)?;
        self.keys.replace(rules.keys);
        self.admitter.replace(rules.admitter);
        self.routes.replace(rules.routes);
        self.webhooks.replace(rules.webhooks);
        Ok(later)
    }
}
