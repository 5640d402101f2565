//! `docs/two-step-integrate.md` shows the programs of the tests.

use super::checkout;

#[test]
fn the_page_shows_the_programs_that_are_run() {
    let page = std::fs::read_to_string(checkout("docs/two-step-integrate.md")).unwrap();
    let lines = |text: &str| -> Vec<String> {
        text.lines().filter(|l| !l.trim().is_empty()).map(str::to_owned).collect()
    };
    for (language, file) in
        [("python", "examples/python/shop_flask.py"), ("js", "examples/node/shop_express.js")]
    {
        let begins = format!("```{language}\n");
        let blocks = page.split(&begins).skip(1).map(|rest| rest.split("\n```").next().unwrap());
        let shown: Vec<String> = blocks.flat_map(lines).collect();
        let program = lines(&std::fs::read_to_string(checkout(file)).unwrap());
        assert_eq!(shown, program, "the {language} blocks of the page, in order, are {file}");
    }
}
