//! Tests of rules that every page follows.

mod samples;
mod words;

use samples::{HOSTILE, all};

use super::Lang;

fn every_page(check: impl Fn(&str, &str)) {
    for lang in Lang::ALL {
        for (name, html) in all(lang) {
            check(&format!("{name} ({})", lang.tag()), &html);
        }
    }
}

/// The values of an attribute, in order.
fn values<'a>(html: &'a str, attribute: &str) -> Vec<&'a str> {
    let start = format!(" {attribute}=\"");
    html.split(&start).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

/// The start tags, without their angle brackets.
fn tags(html: &str) -> impl Iterator<Item = &str> {
    html.split('<').skip(1).filter_map(|rest| rest.split('>').next())
}

#[test]
fn no_page_has_an_inline_style_or_script() {
    every_page(|name, html| {
        assert!(!html.contains("<style") && !html.contains("javascript:"), "{name}");
        for tag in tags(html) {
            assert!(!tag.contains(" style="), "{name}: {tag}");
            assert!(!tag.starts_with("script") || tag.contains(" src=\"/assets/"), "{name}: {tag}");
            let handler = tag.split_whitespace().any(|part| part.starts_with("on") && part.contains('='));
            assert!(!handler, "{name}: {tag}");
        }
    });
}

#[test]
fn every_value_is_escaped() {
    every_page(|name, html| {
        assert!(!html.contains("<b>"), "{name}");
        assert!(html.contains("&#60;b&#62;&#34;&#39;&#38;"), "{name} shows {HOSTILE}");
    });
}

#[test]
fn every_form_is_sent_by_post_with_a_csrf_value_and_a_button() {
    every_page(|name, html| {
        for form in html.split("<form").skip(1) {
            let (tag, rest) = form.split_once('>').unwrap();
            let body = rest.split("</form>").next().unwrap_or_default();
            assert!(tag.contains(" method=\"post\"") && tag.contains(" action=\"/"), "{name}: {tag}");
            assert!(
                body.contains("<input type=\"hidden\" name=\"csrf\" value=\"csrf-value\">"),
                "{name}: {tag}"
            );
            assert!(body.contains("<button"), "{name}: {tag}");
        }
    });
}

#[test]
fn ids_are_unique_and_references_to_them_resolve() {
    every_page(|name, html| {
        let mut ids = values(html, "id");
        for attribute in ["for", "aria-describedby", "aria-labelledby", "data-copy"] {
            for id in values(html, attribute).into_iter().flat_map(str::split_whitespace) {
                assert!(ids.contains(&id), "{name}: {attribute}={id}");
            }
        }
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all, "{name}");
    });
}

#[test]
fn every_visible_field_has_a_label() {
    every_page(|name, html| {
        let labelled = values(html, "for");
        for tag in tags(html).filter(|t| t.starts_with("input") || t.starts_with("select")) {
            let id = values(tag, "id");
            let hidden = tag.contains("type=\"hidden\"");
            assert!(hidden || id.first().is_some_and(|id| labelled.contains(id)), "{name}: {tag}");
        }
    });
}

#[test]
fn every_page_has_one_main_one_first_heading_a_language_and_no_field_that_cuts_a_code() {
    every_page(|name, html| {
        assert_eq!(html.matches("<main").count(), 1, "{name}");
        assert_eq!(html.matches("<h1").count(), 1, "{name}");
        assert!(html.contains("<html lang=\""), "{name}");
        assert!(!html.contains("maxlength"), "{name}");
    });
}

#[test]
fn headings_are_in_order() {
    every_page(|name, html| {
        let levels: Vec<u8> = tags(html).filter_map(|t| t.strip_prefix('h')?.parse().ok()).collect();
        assert_eq!(levels.first(), Some(&1), "{name}");
        assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{name}: {levels:?}");
    });
}

#[test]
fn each_language_has_its_own_sentences() {
    let [english, german] = Lang::ALL.map(all);
    assert_eq!(english.len(), german.len());
    let heading = |html: &str| html.split("<h1>").nth(1).and_then(|h| h.split('<').next()).map(str::to_owned);
    for ((name, first), (_, second)) in english.iter().zip(&german) {
        assert_ne!(first, second, "{name}");
        let (first, second) = (heading(first), heading(second));
        assert!(first != second || first.is_some_and(|h| h.contains("&#60;b")), "{name}");
    }
}
