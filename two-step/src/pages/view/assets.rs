//! The static files of the pages: style sheet, script, icon.

use super::Accent;

/// Concatenated in this order. Later rules override earlier ones.
const STYLE: &str = concat!(
    include_str!("../../../assets/style/colours.css"),
    include_str!("../../../assets/style/frame.css"),
    include_str!("../../../assets/style/fields.css"),
    include_str!("../../../assets/style/buttons.css"),
    include_str!("../../../assets/style/lists.css"),
    include_str!("../../../assets/style/parts.css"),
    include_str!("../../../assets/style/media.css"),
);
const SCRIPT: &str = include_str!("../../../assets/two-step.js");
const ICON: &str = include_str!("../../../assets/two-step.svg");

/// A hash of the style sheet and the script. Links have it as `?v=`, so caches may keep the files for ever.
pub const VERSION: u32 = fnv(STYLE.as_bytes(), fnv(SCRIPT.as_bytes(), 0x811c_9dc5));

/// A hash of the app's files, for the cache of its service worker.
pub const APP_VERSION: u32 = {
    let files = concat!(
        include_str!("../../../assets/app/app.js"),
        include_str!("../../../assets/app/api.js"),
        include_str!("../../../assets/app/signer.js"),
        include_str!("../../../assets/app/store.js"),
        include_str!("../../../assets/app/texts.js"),
        include_str!("../../../assets/app/app.css"),
        include_str!("../../../assets/app/sw.js"),
        include_str!("../../../templates/app.html"),
    );
    fnv(files.as_bytes(), VERSION)
};

/// A static file.
#[derive(Debug, Clone)]
pub struct Asset {
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// The content.
    pub body: String,
}

/// Returns the file for `GET /assets/{name}`: `two-step.css`, `two-step.js`, `two-step.svg` or `accent-{hex}.css`.
pub fn find(name: &str) -> Option<Asset> {
    let (content_type, body) = match name {
        "two-step.css" => ("text/css; charset=utf-8", STYLE.to_owned()),
        "two-step.js" => ("text/javascript; charset=utf-8", SCRIPT.to_owned()),
        "two-step.svg" => ("image/svg+xml", ICON.to_owned()),
        _ => {
            let hex = name.strip_prefix("accent-")?.strip_suffix(".css")?;
            ("text/css; charset=utf-8", Accent::parse(hex)?.style_sheet())
        }
    };
    Some(Asset { content_type, body })
}

/// FNV-1a over 32 bits. Identifies versions; not a security measure.
const fn fnv(bytes: &[u8], start: u32) -> u32 {
    let (mut hash, mut at) = (start, 0);
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash
}
