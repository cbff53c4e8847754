// Bundles are not read yet: a .zip is refused with words that say what to do instead.

async function checkBundle(blob, signers, out) {
  out.add("bundle.form", "this page reads no bundle yet: unpack it, and drop the files that stand in it", { line: 1 });
}
