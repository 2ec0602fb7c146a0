"""The alignment of a suspect to the unmarked sidecar, which never sees a mark.

An assignment picks the order that looks most like its reference. If that carried the mark, an innocent network would
be made to look marked; the reference is therefore the network before embedding and nothing else.
"""
