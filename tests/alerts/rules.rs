//! The unit tests of the alert rules.

use crate::programs::promtool;

/// Fails if a rule does not fire in its incident, fires in a quiet hour, or has other texts.
#[test]
fn the_alert_rules_pass_their_unit_tests() {
    for arguments in [["check", "rules", "otpost.rules.yml"], ["test", "rules", "otpost.rules.test.yml"]] {
        let output = promtool(&arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
    }
}
