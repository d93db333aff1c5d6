#![no_main]

libfuzzer_sys::fuzz_target!(
    init: forgive_the_library(),
    |input: &[u8]| postern_fuzz::parser::check(input)
);

/// A debug assertion of mail-parser fails over some damaged multiparts. It is not there in a release, and where it is, the parser
/// path catches it and keeps the mail as one piece; libFuzzer would end over it before that.
fn forgive_the_library() {
    const ASSERTION: &str = "Invalid part ID, could not find multipart.";
    let ends = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref::<&str>() != Some(&ASSERTION) {
            ends(panic);
        }
    }));
}
