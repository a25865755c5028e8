# Writes a Redis script as C: cmake -DINPUT=x.lua -DNAME=x -DOUTPUT=x.c [-DFUNCTION=f] -P embed.cmake
# A script that says "-- HEAD     y.lua z.lua" in its comment begins with the texts of these files, of the
# folder head/ or its own. Redis knows a script by the digest of its bytes, so that is computed here,
# too. FUNCTION: the script defines it, and is a call of it. NAME history_library: it is no script but a
# library for FUNCTION LOAD.
file(READ "${INPUT}" text)
if(text MATCHES "\n-- HEAD +([a-z_. ]+)\n")
    get_filename_component(folder "${INPUT}" DIRECTORY)
    string(REPLACE " " ";" heads "${CMAKE_MATCH_1}")
    set(before "")
    foreach(head ${heads})
        set(file "${folder}/head/${head}")
        if(NOT EXISTS "${file}")
            set(file "${folder}/${head}")
        endif()
        file(READ "${file}" head)
        string(APPEND before "${head}")
    endforeach()
    string(PREPEND text "${before}")
endif()
if(FUNCTION)
    string(APPEND text "return ${FUNCTION}(KEYS, ARGV)\n")
endif()
if(NAME STREQUAL "history_library")
    string(PREPEND text "#!lua name=bellhop\n")
    string(REGEX MATCH "\nlocal VERSION = ([0-9]+)\n" found "${text}")
    string(CONCAT is "const struct bh_slice bh_redis_${NAME} = {(const char *)body, sizeof body};\n"
                     "const int64_t bh_redis_history_version = ${CMAKE_MATCH_1};\n")
    set(header "history/scripts.h")
else()
    string(SHA1 digest "${text}")
    string(CONCAT is "const struct bh_redis_script bh_redis_script_${NAME} = {\n"
                     "    \"${NAME}\", \"${digest}\", {(const char *)body, sizeof body}};\n")
    set(header "broker/scripts.h")
endif()
string(HEX "${text}" hex)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(................................................................................)"
                     "\\1\n" bytes "${bytes}")
file(WRITE "${OUTPUT}" "#include \"${header}\"\n\nstatic const unsigned char body[] = {\n${bytes}};\n\n${is}")
