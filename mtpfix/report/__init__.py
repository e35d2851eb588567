"""Renderers, one a file: `render(*reports) -> str`. Import the one that you need.

What a report quotes comes from strangers. Every renderer passes it through
`mtpfix.report.inert_text` and then escapes it for its own format, if that has markup.
"""
