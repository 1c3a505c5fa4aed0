//! What all pages have around their content.

use super::{CSS, RENEW_S};

/// A page whose content changes while somebody looks at it.
pub(super) const IS_RENEWED: bool = true;
/// A page that stays as it is.
pub(super) const IS_STEADY: bool = false;

/// Everything up to the first section. `title` is safe HTML, and `root` leads to the page at `/`.
pub(super) fn begin(title: &str, colour: &str, root: &str, is_renewed: bool) -> String {
    let refresh = if is_renewed {
        format!("<meta http-equiv=refresh content={RENEW_S}>")
    } else {
        String::new()
    };
    let header = if root.is_empty() {
        "cis490 receiver".to_owned()
    } else {
        format!("<a href={root}>cis490 receiver</a>")
    };
    format!(
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8><title>cis490: {title}</title>\n\
         <meta name=viewport content=\"width=device-width,initial-scale=1\"><meta name=color-scheme content=\"light dark\">\n\
         {refresh}<meta name=robots content=noindex>\n\
         <link rel=icon href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 9 9'%3E%3Ccircle cx='4.5' cy='4.5' r='4' fill='{colour}'/%3E%3C/svg%3E\">\n\
         <style>{CSS}</style></head><body>\n<header>{header}</header><main>\n"
    )
}
