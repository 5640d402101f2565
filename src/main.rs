//! otpost
fn main() {}
