//! The parts that a reload replaces.

use crate::config::live::Live;
use crate::config::{BadConfig, Config};
use crate::delivery::routing::Routes;
use crate::delivery::rules::Rules;
use crate::domain::restrictions::Restrictions;
use crate::intake::admission::Admitter;
use crate::messages::Templates;
use crate::outbox::webhook::Webhooks;
use crate::seal::Keys;

/// All parts that a reload replaces, built from one configuration. An invalid part rejects the whole configuration.
pub struct Reloadable {
    rules: Rules,
    webhooks: Webhooks,
}

impl Reloadable {
    /// Builds the parts from a configuration and its keys.
    pub fn new(config: &Config, keys: Keys) -> Result<Self, BadConfig> {
        Self::after(None, config, keys)
    }

    /// The same for a running process: accounts keep their rate-limit state and permits, and restrictions stay in force.
    fn after(before: Option<&Rules>, config: &Config, keys: Keys) -> Result<Self, BadConfig> {
        let templates = Templates::load(config.messages.templates_dir.as_deref()).map_err(BadConfig)?;
        let restrictions =
            before.map_or_else(|| Live::new(Restrictions::default()), |b| b.restrictions.clone());
        let admitter = Admitter::new(keys.clone(), config.clone(), templates, restrictions.clone());
        let routes = Routes::new(config, before.map(|b| &b.routes), restrictions.clone())?;
        let settings = config.settings(&keys);
        let rules = Rules { keys, admitter, routes, restrictions, settings };
        Ok(Self { rules, webhooks: Webhooks::new(config)? })
    }
}

/// The current parts of a running process.
pub(super) struct ActiveConfig {
    pub(super) rules: Live<Rules>,
    pub(super) webhooks: Live<Webhooks>,
    /// The configuration at the start, because some settings need a restart.
    started_with: Config,
}

impl ActiveConfig {
    pub(super) fn new(all: Reloadable, started_with: Config) -> Self {
        Self { rules: Live::new(all.rules), webhooks: Live::new(all.webhooks), started_with }
    }

    /// Applies another configuration, or changes nothing on an error. Returns the changed keys that need a restart.
    pub(super) fn replace(&self, mut config: Config) -> Result<Vec<&'static str>, BadConfig> {
        let keys = config.keys()?;
        let before = self.rules.current();
        if !keys.has_hashes_of(&before.keys) {
            return Err(BadConfig(
                "keys.hash_root would change, and all quota counts would be lost; set it to the root that was used first"
                    .to_owned(),
            ));
        }
        let needs_restart = config.changes_that_need_restart(&self.started_with);
        config.worker.slots = self.started_with.worker.slots;
        let mut all = Reloadable::after(Some(&before), &config, keys)?;
        // Settings that need a restart are still those of the start.
        let settings = &mut all.rules.settings;
        settings.retain(|key, _| !Config::needs_restart(key));
        let at_start = before.settings.iter().filter(|(key, _)| Config::needs_restart(key));
        settings.extend(at_start.map(|(key, value)| (key.clone(), value.clone())));
        self.rules.replace(all.rules);
        self.webhooks.replace(all.webhooks);
        Ok(needs_restart)
    }
}
