#include "proxy/http/h1/scan.h"

#ifdef __x86_64__
#include <immintrin.h>

#define AVX2   __attribute__((target("avx2,bmi")))
#define INLINE static inline __attribute__((always_inline, target("avx2,bmi")))

enum { WIDTH = 32 };

/* The 32 bytes from `at`, or, near the end, the last 32 that there are: they begin `back` bytes before it. A
 * mask made of them is shifted right by that, which leaves zeros for what lies past the end. */
struct block {
    __m256i bytes;
    unsigned back;
};

INLINE struct block load(const char *at, const char *end)
{
    const char *last = end - WIDTH;
    const char *from = at <= last ? at : last;
    return (struct block){_mm256_loadu_si256((const __m256i *)(const void *)from), (unsigned)(at - from)};
}

INLINE uint32_t mask_of(__m256i hits)
{
    return (uint32_t)_mm256_movemask_epi8(hits);
}

/* Not BYTE_TEXT: below 0x20 but HTAB, or DEL. */
INLINE uint32_t not_text(__m256i x)
{
    __m256i low = _mm256_cmpeq_epi8(_mm256_min_epu8(x, _mm256_set1_epi8(0x1F)), x);
    __m256i tab = _mm256_cmpeq_epi8(x, _mm256_set1_epi8('\t'));
    __m256i del = _mm256_cmpeq_epi8(x, _mm256_set1_epi8(0x7F));
    return mask_of(_mm256_or_si256(_mm256_andnot_si256(tab, low), del));
}

/* Not BYTE_TARGET: SP and below, 0x80 and above (negative here), DEL, "#". */
INLINE uint32_t not_target(__m256i x)
{
    __m256i above = _mm256_cmpgt_epi8(x, _mm256_set1_epi8(0x20));
    __m256i del = _mm256_cmpeq_epi8(x, _mm256_set1_epi8(0x7F));
    __m256i hash = _mm256_cmpeq_epi8(x, _mm256_set1_epi8('#'));
    return mask_of(_mm256_andnot_si256(_mm256_or_si256(del, hash), above)) ^ UINT32_MAX;
}

/* Not BYTE_TOKEN: rows[low half of the byte] has bit r set when (r << 4 | low half) is a tchar; bits[high
 * half] picks that bit. A byte of 0x80 and above finds a zero in both. */
INLINE uint32_t not_token(__m256i x)
{
    const __m256i rows = _mm256_setr_epi8(
        (char)0xE8, (char)0xFC, (char)0xF8, (char)0xFC, (char)0xFC, (char)0xFC, (char)0xFC, (char)0xFC,
        (char)0xF8, (char)0xF8, (char)0xF4, 0x54, (char)0xD0, 0x54, (char)0xF4, 0x70, (char)0xE8, (char)0xFC,
        (char)0xF8, (char)0xFC, (char)0xFC, (char)0xFC, (char)0xFC, (char)0xFC, (char)0xF8, (char)0xF8,
        (char)0xF4, 0x54, (char)0xD0, 0x54, (char)0xF4, 0x70);
    const __m256i bits = _mm256_setr_epi8(1, 2, 4, 8, 16, 32, 64, (char)128, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4,
                                          8, 16, 32, 64, (char)128, 0, 0, 0, 0, 0, 0, 0, 0);
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(x, 4), _mm256_set1_epi8(0x0F));
    __m256i hit = _mm256_and_si256(_mm256_shuffle_epi8(rows, x), _mm256_shuffle_epi8(bits, high));
    return mask_of(_mm256_cmpeq_epi8(hit, _mm256_setzero_si256()));
}

AVX2 static const char *scan_text(const char *begin, const char *at, const char *end)
{
    if (end - begin < WIDTH)
        return h1_scan_scalar.text(begin, at, end);
    for (; at < end; at += WIDTH) {
        struct block block = load(at, end);
        uint32_t stop = not_text(block.bytes) >> block.back;
        if (stop)
            return at + __builtin_ctz(stop);
    }
    return end;
}

AVX2 static const char *scan_target(const char *begin, const char *at, const char *end, const char **question)
{
    if (end - begin < WIDTH)
        return h1_scan_scalar.target(begin, at, end, question);

    const char *found = NULL;
    for (; at < end; at += WIDTH) {
        struct block block = load(at, end);
        uint32_t stop = not_target(block.bytes) >> block.back;
        uint32_t mark = mask_of(_mm256_cmpeq_epi8(block.bytes, _mm256_set1_epi8('?'))) >> block.back;
        if (mark && !found)
            found = at + __builtin_ctz(mark);
        if (stop) {
            at += __builtin_ctz(stop);
            *question = found && found < at ? found : at;
            return at;
        }
    }
    *question = found ? found : end;
    return end;
}

/* The colon of the line at `at` that has an end before `end`, or NULL when what stands there is no name. */
INLINE const char *find_colon(const char *at, const char *end)
{
    const char *colon = at;
    uint32_t stop;

    if (LIKELY(end - at >= WIDTH)) {
        stop = not_token(_mm256_loadu_si256((const __m256i *)(const void *)at));
        if (LIKELY(stop)) {
            colon += __builtin_ctz(stop);
            return *colon == ':' && colon > at ? colon : NULL;
        }
    }
    do {
        struct block block = load(colon, end);
        stop = not_token(block.bytes) >> block.back;
        colon += stop ? __builtin_ctz(stop) : WIDTH;
    } while (!stop && colon < end);
    return colon < end && *colon == ':' && colon > at ? colon : NULL;
}

/* Of 64 bytes, bit by bit: the LF, and all that is not text (they among it). */
struct ends {
    uint64_t lf, not_text;
};

INLINE struct ends find_ends(const char *at)
{
    __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)at);
    __m256i y = _mm256_loadu_si256((const __m256i *)(const void *)(at + WIDTH));
    const __m256i lf = _mm256_set1_epi8('\n');
    return (struct ends){
        mask_of(_mm256_cmpeq_epi8(x, lf)) | (uint64_t)mask_of(_mm256_cmpeq_epi8(y, lf)) << 32,
        not_text(x) | (uint64_t)not_text(y) << 32,
    };
}

/* Line by line, for the end of the section and for whatever is not regular: each line waits for the one
 * before it. */
AVX2 static const char *scan_lines(const char *begin, const char *at, const char *end, struct fields *out,
                                   uint32_t max)
{
    while (out->count < max && at < end) {
        const char *colon = find_colon(at, end);
        if (!colon)
            break;
        const char *eol = scan_text(begin, colon + 1, end);
        if (end - eol < 2 || eol[0] != '\r' || eol[1] != '\n')
            break;
        h1_field_set(&out->at[out->count++], at, colon, eol);
        at = eol + 2;
    }
    return at;
}

/* 64 bytes at a time: the lines' ends are known before their beginnings are looked at, so that the CPU can
 * work on several lines at once. A piece with anything in it but text and CRLF is left to scan_lines, from
 * the line at hand. */
AVX2 static const char *scan_fields(const char *begin, const char *at, const char *end, struct fields *out,
                                    uint32_t max)
{
    if (end - begin < WIDTH)
        return h1_scan_scalar.fields(begin, at, end, out, max);

    uint32_t count = out->count;
    uint64_t before = 0; /* the last byte of the piece before was no text: a CR, if it is followed by a LF */
    for (const char *piece = at; end - piece >= 64; piece += 64) {
        struct ends ends = find_ends(piece);
        uint64_t cr = ends.not_text ^ ends.lf; /* what else is no text must be a CR right before a LF */
        if (UNLIKELY((cr << 1 | before) != ends.lf))
            break;
        before = cr >> 63;

        for (uint64_t lf = ends.lf; lf; lf &= lf - 1) {
            const char *eol = piece + __builtin_ctzll(lf) - 1;
            const char *colon = find_colon(at, end);
            if (UNLIKELY(!colon || count == max || *eol != '\r')) {
                out->count = count;
                return at;
            }
            h1_field_set(&out->at[count++], at, colon, eol);
            at = eol + 2;
        }
    }
    out->count = count;
    return scan_lines(begin, at, end, out, max);
}

const struct h1_scanner h1_scan_avx2 = {scan_text, scan_target, scan_fields};
#endif
