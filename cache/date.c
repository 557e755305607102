#include "cache/date.h"

#include "core/base.h"

struct calendar {
    int year, month, day, hour, minute, second; /* month 1 to 12 */
};

static const struct slice months[] = {SLICE("Jan"), SLICE("Feb"), SLICE("Mar"), SLICE("Apr"),
                                      SLICE("May"), SLICE("Jun"), SLICE("Jul"), SLICE("Aug"),
                                      SLICE("Sep"), SLICE("Oct"), SLICE("Nov"), SLICE("Dec")};
static const struct slice weekdays[] = {SLICE("Monday"),   SLICE("Tuesday"), SLICE("Wednesday"),
                                        SLICE("Thursday"), SLICE("Friday"),  SLICE("Saturday"),
                                        SLICE("Sunday")};

/* Each of these takes its piece from the front of *s, or says false. */

/* Whatever the case: RFC 9111 §4.2. */
static bool take(struct slice *s, struct slice text)
{
    if (s->len < text.len || !slice_equal_nocase(slice_of(s->at, text.len), text))
        return false;
    *s = slice_skip(*s, text.len);
    return true;
}

static bool take_digits(struct slice *s, size_t count, int *out)
{
    int value = 0;
    if (s->len < count)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (s->at[i] < '0' || s->at[i] > '9')
            return false;
        value = value * 10 + (s->at[i] - '0');
    }
    *s = slice_skip(*s, count);
    *out = value;
    return true;
}

static bool take_month(struct slice *s, int *out)
{
    for (size_t i = 0; i < COUNT_OF(months); i++) {
        if (take(s, months[i])) {
            *out = (int)i + 1;
            return true;
        }
    }
    return false;
}

static bool take_time(struct slice *s, struct calendar *c)
{
    return take_digits(s, 2, &c->hour) && take(s, S(":")) && take_digits(s, 2, &c->minute) &&
           take(s, S(":")) && take_digits(s, 2, &c->second);
}

/* The weekday, in full or by three letters, and what follows it. */
static bool take_weekday(struct slice *s, bool in_full, struct slice behind)
{
    for (size_t i = 0; i < COUNT_OF(weekdays); i++) {
        struct slice rest = *s;
        if (take(&rest, in_full ? weekdays[i] : slice_of(weekdays[i].at, 3)) && take(&rest, behind)) {
            *s = rest;
            return true;
        }
    }
    return false;
}

/* Sun, 06 Nov 1994 08:49:37 GMT */
static bool is_fixdate(struct slice s, struct calendar *c)
{
    return take_weekday(&s, false, S(", ")) && take_digits(&s, 2, &c->day) && take(&s, S(" ")) &&
           take_month(&s, &c->month) && take(&s, S(" ")) && take_digits(&s, 4, &c->year) &&
           take(&s, S(" ")) && take_time(&s, c) && take(&s, S(" GMT")) && s.len == 0;
}

/* Sunday, 06-Nov-94 08:49:37 GMT */
static bool is_rfc850(struct slice s, struct calendar *c)
{
    return take_weekday(&s, true, S(", ")) && take_digits(&s, 2, &c->day) && take(&s, S("-")) &&
           take_month(&s, &c->month) && take(&s, S("-")) && take_digits(&s, 2, &c->year) &&
           take(&s, S(" ")) && take_time(&s, c) && take(&s, S(" GMT")) && s.len == 0;
}

/* Sun Nov  6 08:49:37 1994 */
static bool is_asctime(struct slice s, struct calendar *c)
{
    return take_weekday(&s, false, S(" ")) && take_month(&s, &c->month) && take(&s, S(" ")) &&
           (take(&s, S(" ")) ? take_digits(&s, 1, &c->day) : take_digits(&s, 2, &c->day)) &&
           take(&s, S(" ")) && take_time(&s, c) && take(&s, S(" ")) && take_digits(&s, 4, &c->year) &&
           s.len == 0;
}

static bool is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static bool is_real(const struct calendar *c)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int length = lengths[c->month - 1] + (c->month == 2 && is_leap(c->year));
    /* 60 is a leap second. */
    return c->day >= 1 && c->day <= length && c->hour < 24 && c->minute < 60 && c->second <= 60;
}

static int64_t to_seconds(const struct calendar *c)
{
    /* Years that begin in March: the leap day is their last. */
    int64_t year = c->month > 2 ? c->year : c->year - 1;
    int64_t month = c->month > 2 ? c->month - 3 : c->month + 9;
    int64_t days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + c->day - 1;
    return ((days - 719468) * 24 + c->hour) * 3600 + c->minute * 60 + c->second;
}

int http_date_parse(struct slice text, int64_t now, int64_t *out)
{
    struct calendar c;
    if (is_rfc850(text, &c)) {
        int this_year = (int)(1970 + now / 31556952); /* seconds of a year of 365.2425 days */
        c.year += this_year - this_year % 100;
        if (c.year > this_year + 50)
            c.year -= 100;
    } else if (!is_fixdate(text, &c) && !is_asctime(text, &c)) {
        return -1;
    }
    if (!is_real(&c))
        return -1;
    *out = to_seconds(&c);
    return 0;
}
