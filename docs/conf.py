# How Sphinx makes the book. `make docs` runs it.

import pathlib
import tomllib

manifest = tomllib.loads((pathlib.Path(__file__).parent.parent / "Cargo.toml").read_text())

project = "Nebula"
version = release = manifest["package"]["version"]
language = "en"
html_title = f"Nebula {version}"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_theme = "furo"

extensions = ["myst_parser", "sphinx_copybutton"]
myst_enable_extensions = ["deflist"]
# Headings can be linked to: `page.md#its-words`.
myst_heading_anchors = 4
exclude_patterns = ["README.md"]
# A page that is in no list of contents cannot be found: Sphinx warns of it.

# Blocks without a language are shown as they are.
highlight_language = "none"
# What is copied from a console block are the commands, without prompt and output.
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"
copybutton_here_doc_delimiter = "EOF"
copybutton_exclude = ".linenos, .gp"
