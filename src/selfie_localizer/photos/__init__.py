"""From a file's bytes to pixels: header, decoding, resizing, listing and perceptual hash.

The package is copied into every served model, so it needs nothing but NumPy, OpenCV, Pillow and this project's
`errors`.
"""
