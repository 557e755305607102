#include "proxy/http/mime.h"

#include <stdlib.h>

#include "core/base.h"

#define EXTENSION_MAX 12

struct mime {
    char extension[EXTENSION_MAX]; /* lower case */
    struct slice type;
};

#define TEXT "; charset=utf-8"

/* Sorted by extension. */
static const struct mime table[] = {
    {"3gp", SLICE("video/3gpp")},
    {"7z", SLICE("application/x-7z-compressed")},
    {"aac", SLICE("audio/aac")},
    {"apk", SLICE("application/vnd.android.package-archive")},
    {"apng", SLICE("image/apng")},
    {"atom", SLICE("application/atom+xml")},
    {"avi", SLICE("video/x-msvideo")},
    {"avif", SLICE("image/avif")},
    {"bin", SLICE("application/octet-stream")},
    {"bmp", SLICE("image/bmp")},
    {"bz2", SLICE("application/x-bzip2")},
    {"c", SLICE("text/plain" TEXT)},
    {"conf", SLICE("text/plain" TEXT)},
    {"cpp", SLICE("text/plain" TEXT)},
    {"css", SLICE("text/css" TEXT)},
    {"csv", SLICE("text/csv" TEXT)},
    {"deb", SLICE("application/vnd.debian.binary-package")},
    {"dmg", SLICE("application/x-apple-diskimage")},
    {"doc", SLICE("application/msword")},
    {"docx", SLICE("application/vnd.openxmlformats-officedocument.wordprocessingml.document")},
    {"eot", SLICE("application/vnd.ms-fontobject")},
    {"epub", SLICE("application/epub+zip")},
    {"flac", SLICE("audio/flac")},
    {"geojson", SLICE("application/geo+json")},
    {"gif", SLICE("image/gif")},
    {"glb", SLICE("model/gltf-binary")},
    {"gltf", SLICE("model/gltf+json")},
    {"go", SLICE("text/plain" TEXT)},
    {"gz", SLICE("application/gzip")},
    {"h", SLICE("text/plain" TEXT)},
    {"heic", SLICE("image/heic")},
    {"htm", SLICE("text/html" TEXT)},
    {"html", SLICE("text/html" TEXT)},
    {"ico", SLICE("image/vnd.microsoft.icon")},
    {"ics", SLICE("text/calendar" TEXT)},
    {"ini", SLICE("text/plain" TEXT)},
    {"iso", SLICE("application/x-iso9660-image")},
    {"jar", SLICE("application/java-archive")},
    {"jpeg", SLICE("image/jpeg")},
    {"jpg", SLICE("image/jpeg")},
    {"js", SLICE("text/javascript" TEXT)},
    {"json", SLICE("application/json")},
    {"jsonld", SLICE("application/ld+json")},
    {"jxl", SLICE("image/jxl")},
    {"log", SLICE("text/plain" TEXT)},
    {"m3u8", SLICE("application/vnd.apple.mpegurl")},
    {"m4a", SLICE("audio/mp4")},
    {"m4s", SLICE("video/iso.segment")},
    {"m4v", SLICE("video/mp4")},
    {"map", SLICE("application/json")},
    {"md", SLICE("text/markdown" TEXT)},
    {"mid", SLICE("audio/midi")},
    {"mjs", SLICE("text/javascript" TEXT)},
    {"mkv", SLICE("video/matroska")},
    {"mov", SLICE("video/quicktime")},
    {"mp3", SLICE("audio/mpeg")},
    {"mp4", SLICE("video/mp4")},
    {"mpd", SLICE("application/dash+xml")},
    {"mpeg", SLICE("video/mpeg")},
    {"odp", SLICE("application/vnd.oasis.opendocument.presentation")},
    {"ods", SLICE("application/vnd.oasis.opendocument.spreadsheet")},
    {"odt", SLICE("application/vnd.oasis.opendocument.text")},
    {"oga", SLICE("audio/ogg")},
    {"ogg", SLICE("audio/ogg")},
    {"ogv", SLICE("video/ogg")},
    {"opus", SLICE("audio/ogg")},
    {"otf", SLICE("font/otf")},
    {"patch", SLICE("text/x-diff" TEXT)},
    {"pdf", SLICE("application/pdf")},
    {"png", SLICE("image/png")},
    {"ppt", SLICE("application/vnd.ms-powerpoint")},
    {"pptx", SLICE("application/vnd.openxmlformats-officedocument.presentationml.presentation")},
    {"ps", SLICE("application/postscript")},
    {"py", SLICE("text/plain" TEXT)},
    {"rar", SLICE("application/vnd.rar")},
    {"rpm", SLICE("application/x-rpm")},
    {"rs", SLICE("text/plain" TEXT)},
    {"rss", SLICE("application/rss+xml")},
    {"rtf", SLICE("application/rtf")},
    {"sh", SLICE("text/plain" TEXT)},
    {"svg", SLICE("image/svg+xml")},
    {"tar", SLICE("application/x-tar")},
    {"tif", SLICE("image/tiff")},
    {"tiff", SLICE("image/tiff")},
    {"toml", SLICE("application/toml")},
    {"ts", SLICE("video/mp2t")},
    {"ttf", SLICE("font/ttf")},
    {"txt", SLICE("text/plain" TEXT)},
    {"vtt", SLICE("text/vtt" TEXT)},
    {"wasm", SLICE("application/wasm")},
    {"wav", SLICE("audio/wav")},
    {"weba", SLICE("audio/webm")},
    {"webm", SLICE("video/webm")},
    {"webmanifest", SLICE("application/manifest+json")},
    {"webp", SLICE("image/webp")},
    {"woff", SLICE("font/woff")},
    {"woff2", SLICE("font/woff2")},
    {"xhtml", SLICE("application/xhtml+xml")},
    {"xls", SLICE("application/vnd.ms-excel")},
    {"xlsx", SLICE("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")},
    {"xml", SLICE("text/xml" TEXT)},
    {"xz", SLICE("application/x-xz")},
    {"yaml", SLICE("application/yaml")},
    {"yml", SLICE("application/yaml")},
    {"zip", SLICE("application/zip")},
    {"zst", SLICE("application/zstd")},
};

static int compare(const void *extension, const void *entry)
{
    return strncmp(extension, ((const struct mime *)entry)->extension, EXTENSION_MAX);
}

struct slice mime_type(struct slice path)
{
    static const struct slice unknown = SLICE("application/octet-stream");
    char extension[EXTENSION_MAX] = {0};
    size_t dot = path.len;
    while (dot > 0 && path.at[dot - 1] != '.' && path.at[dot - 1] != '/')
        dot--;
    /* A name that begins with its only dot has no ending. */
    if (dot < 2 || path.at[dot - 1] == '/' || path.at[dot - 2] == '/' || path.len - dot >= EXTENSION_MAX)
        return unknown;

    for (size_t i = dot; i < path.len; i++)
        extension[i - dot] = ascii_lower(path.at[i]);
    const struct mime *found = bsearch(extension, table, COUNT_OF(table), sizeof *table, compare);
    return found ? found->type : unknown;
}
