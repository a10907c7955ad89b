/* SPDX-License-Identifier: MIT */
/*
 * What the name of a file tells: its media type, whether compressing it pays, whether it names its content.
 */
#ifndef WORKER_WEB_MIME_H
#define WORKER_WEB_MIME_H

#include "common/str.h"

/* Media type by extension, with charset for text; "application/octet-stream" for others. Static text, never NULL. */
const char *mime_type(struct str name);
/*
 * Does the last segment of the path hold a hash of the content, as bundlers write it? The part before the extension
 * (".map", ".min", ".chunk", ".bundle" and ".module" passed over) that follows its last '-' or '.' must be
 *  - 8 to 64 hexadecimal digits of one case, with a digit and a letter (webpack, Parcel: app.3f9a1c2b.js), or
 *  - 8 capitals and digits 2 to 7, with both (esbuild: app-4QPB3FTU.js), or
 *  - 5 to 22 letters, digits, '_' with capitals, small letters and digits, that are not a word followed by a number
 *    (Vite, Rollup: index-BDkq9x2Z.css, but not trip-Paris2024.jpg).
 * A hash that has no digit is not recognised: its file is only asked for once a day.
 */
bool mime_hashed(struct str path);

#endif
