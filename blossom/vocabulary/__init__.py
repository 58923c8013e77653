"""Tokenizers: loading, counting, merging new pieces into them, and the starting rows of these pieces.

loading      a tokenizer from an asset, folder, file or hub id; SentencePiece models
encoding     many lines to ids, fast
spelling     tokens as bytes and as readable pieces
fertility    tokens per word, cost, word frequencies
morphemes    whether tokens end where Korean morphemes end
bases        the two kinds of tokenizer that pieces are merged into
pieces       words of a corpus, and pieces learned from them
donors       pieces taken from another tokenizer
closure      which pieces can be made, and which are worth their row
merging      the merge
certificate  proof, measured on the saved files, that a merge is exact
embeddings   starting rows of new pieces
"""
