"""verify.html, the second verifier, for a browser: `assemble` puts it together from parts/, page.html, page.css."""
