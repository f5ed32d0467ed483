"""The EXIF tags of pictures as metadata: ingest job start … --extract-metadata exif_metadata:extract

Needs Pillow: pip install 'irods-inventory-loader[exif]'. Files that are no pictures get none.
"""

from __future__ import annotations

from PIL import ExifTags, Image, UnidentifiedImageError

from core.handlers import Annotations, Context

LONGEST = 2700
"""iRODS takes values of this many characters."""


def extract(context: Context) -> Annotations:
    """The tags that have a name and a text; a picture from a bucket is read from there."""
    try:
        with context.open() as file, Image.open(file) as picture:
            tags = picture.getexif()
            width, height = picture.size
    except UnidentifiedImageError:
        return Annotations()
    found = [("image::width", str(width), "pixel"), ("image::height", str(height), "pixel")]
    for number, value in tags.items():
        name, text = ExifTags.TAGS.get(number), str(value).strip("\0 ")
        if name and text and text.isprintable():
            found.append((f"exif::{name}", text[:LONGEST], ""))
    return Annotations(found)
